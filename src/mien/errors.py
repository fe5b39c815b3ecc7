"""The one exception that a user of mien is meant to read."""


class MienError(Exception):
    """A mistake that the user can mend. Its message is one line: what is wrong and what to do.

    The command line prints the message and exits with code 2; nothing else of mien is caught there.
    """

    def __str__(self) -> str:
        """The message with control characters, which a file's name may hold, as Python would write them."""
        text = super().__str__()
        return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
