"""The playground: a drawn world, eleven datasets of it and four shifted versions of the first."""
