"""Errors for users: one line, with the nearest choice."""

from jdarts import UserError
from jdarts.errors import unknown_choice


def test_message_is_one_line():
    assert str(UserError("a\n  b\tc")) == "a b c"


def test_unknown_choice_names_the_nearest():
    error = unknown_choice("primitive", "sep_conv_3x4", ["none", "sep_conv_3x3"])
    assert isinstance(error, UserError)
    assert str(error) == (
        "primitive: unknown 'sep_conv_3x4'; did you mean 'sep_conv_3x3'? "
        "choices: none, sep_conv_3x3"
    )


def test_unknown_choice_without_a_near_one():
    assert str(unknown_choice("space", "xyz", ["b", "a"])) == (
        "space: unknown 'xyz'; choices: a, b"
    )
