"""Copy files to and from nodes: rsync over the open SSH connection."""

from orchestrator.sync.left_out import LeftOut as LeftOut
from orchestrator.sync.left_out import why_left_out as why_left_out
from orchestrator.sync.relay import Progress as Progress
from orchestrator.sync.transfer import Pushed as Pushed
from orchestrator.sync.transfer import push as push
from orchestrator.sync.transfer import push_all as push_all
from orchestrator.sync.tree import Entry as Entry
from orchestrator.sync.tree import Tree as Tree
from orchestrator.sync.tree import collect as collect
