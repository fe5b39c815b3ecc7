"""The one exception that a user of mien is meant to read."""


class MienError(Exception):
    """A mistake that the user can mend. Its message is one line: what is wrong and what to do.

    The command line prints the message and exits with code 2; nothing else of mien is caught there.
    """
