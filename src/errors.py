"""The one error that is the user's to mend."""


class UserError(Exception):
    """Something in the input, the settings or the folders is wrong, and the user can put it right.

    The message is one or two lines: what is wrong, where (file and row), and what to do. `main` prints it without a
    traceback and ends with exit code 2. Everything else that goes wrong is a defect and keeps its traceback.
    """
