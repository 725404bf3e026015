"""A configuration of Accelerate is refused with what to name instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InventoryError
from orchestrator.inventory import load

CONFIG = (
    "compute_environment: LOCAL_MACHINE\ndistributed_type: {}\nmachine_rank: 0\nnum_machines: 2\n"
)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (CONFIG.format("MULTI_GPU"), "`orch init HOST...` writes an inventory"),
        (
            CONFIG.format("DEEPSPEED") + "deepspeed_config:\n  deepspeed_hostfile: /job/hosts\n",
            "-i /job/hosts",
        ),
        (
            CONFIG.format("DEEPSPEED") + "deepspeed_config: {deepspeed_hostfile: null}\n",
            "`orch init HOST...",
        ),
        ('{"distributed_type": "FSDP",\n "num_processes": 8}', "`orch init HOST..."),
    ],
)
def test_configuration_is_refused_with_a_remedy(text: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / "default_config.yaml").write_text(text)
    with pytest.raises(
        InventoryError, match="how many machines there are, and not which"
    ) as caught:
        load(str(tmp_path / "default_config.yaml"))
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith(remedy)
