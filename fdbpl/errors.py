"""The one error a user can mend."""


class UserError(Exception):
    """A mistake in the user's input: parameters, data or weights.

    The message names the file or key, the value found, the value wanted and the next step.
    The command line prints it on one line and ends with exit code 2, without a traceback.
    """
