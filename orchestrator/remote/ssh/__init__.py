"""The SSH transport. Importing anything from here first imports asyncssh, without its slow look-ups."""

from orchestrator.remote.ssh import quick_import as quick_import
