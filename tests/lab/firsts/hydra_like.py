"""Arguments as key=value and +key=value, a configuration beside the script, a working folder of its own."""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist


def main() -> None:
    here = Path(__file__).parent
    configuration = json.loads((here / "hydra_like.json").read_text())
    for word in sys.argv[1:]:
        key, _, value = word.lstrip("+~").partition("=")
        configuration[key] = value
    place = Path("outputs", configuration["day"], os.environ["RANK"])
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    dist.init_process_group("gloo")
    value = torch.ones(1)
    dist.all_reduce(value)
    Path("config.json").write_text(json.dumps(configuration))
    print(
        f"lr {configuration['trainer.lr']} seed {configuration['seed']} in {place}: {value.item():g}"
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
