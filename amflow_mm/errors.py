"""Errors that the user can put right; at the lowest level, so that every level may raise them."""


class UserError(Exception):
    """Something outside the code is missing or wrong, and the message says what to do."""


class WeightsError(UserError, ValueError):
    """Image weights cannot be had, or are not what they should be."""


class UnreadableFileError(UserError, ValueError):
    """A file of tensors is damaged, or asks to run code when it is read."""
