"""A project of one's own: its files, and what code of the package its stages depend on."""
