import os
from pathlib import Path

if os.environ["RANK"] == "0":
    Path("weights.txt").write_text("1.0 2.0 3.0\n")
print("saved", flush=True)
