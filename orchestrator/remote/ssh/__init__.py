"""The SSH transport. asyncssh is imported first, and quickly, by any import from here."""

from orchestrator.remote.ssh import quick_import as quick_import
