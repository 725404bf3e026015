import os

attempt = int(os.environ["ORCH_ATTEMPT"])
if attempt == 0 and os.environ["RANK"] == "1":
    raise RuntimeError("a fault that a second attempt does not have")
print(f"attempt {attempt} is through", flush=True)
