"""Runs before a command of orch: its $HOME is also the home folder that ssh has, by the user database."""

import os
from pathlib import Path

import pytest

from tests.ssh_home import be_at_home

be_at_home(pytest.MonkeyPatch(), Path(os.environ["HOME"]))
