"""The transport of SSH. Whatever is imported from here, asyncssh is imported first, and quickly."""

from orchestrator.remote.ssh import quick_import as quick_import
