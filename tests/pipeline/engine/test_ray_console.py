"""What Ray prints goes to standard error, whole and plain, and its no-news nowhere."""

from __future__ import annotations

import pytest

from pipeline.engine.ray_console import ray_prints_to_stderr


def test_messages_go_to_standard_error_without_colours(capsys: pytest.CaptureFixture[str]) -> None:
    with ray_prints_to_stderr():
        print("\x1b[33m(raylet)\x1b[0m the disk is full")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "(raylet) the disk is full\n")


@pytest.mark.parametrize(
    "line",
    [
        "(raylet) a worker died: killed by `ray.kill`",
        "(raylet) WARNING: 8 PYTHON worker processes have been started on node: 0",
    ],
)
def test_no_news_is_left_out(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ray_prints_to_stderr():
        print(line)
        print("something else")
    assert capsys.readouterr() == ("", "something else\n")
