"""Names of secrets, and similar names that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.secret_names import is_secret_name

SECRETS = """
HF_TOKEN HF_PAT HUGGING_FACE_HUB_TOKEN WANDB_API_KEY OPENAI_KEY NGC_CLI_API_KEY AWS_SECRET_ACCESS_KEY
AWS_ACCESS_KEY_ID AWS_SESSION_TOKEN AZURE_STORAGE_SAS_TOKEN AZURE_SAS AZURE_STORAGE_CONNECTION_STRING
GOOGLE_APPLICATION_CREDENTIALS PGPASSWORD PGPASS MYSQL_PWD DB_PWD SMTP_PASS SSHPASS REDISCLI_AUTH AUTH
DOCKER_AUTH_CONFIG BASIC_AUTH NETRC COOKIE SESSION SESSION_ID SIGNATURE PRIVATE SENTRY_DSN GITHUB_PAT
api-key apiKey wandbApiKey apikey accessToken hftoken secretkey db.password env.HF_TOKEN KEY1 API_KEYS
API_TOKENS Authorization passphrase SLACK_WEBHOOK
"""

OTHERS = """
KEYBOARD_LAYOUT MONKEY TOKENIZERS_PARALLELISM tokenizer NCCL_DEBUG NCCL_SOCKET_IFNAME PATH LD_LIBRARY_PATH
PYTHONPATH PATTERN PATCH_SIZE PATIENCE PWD OLDPWD COMPASS BYPASS PASSES FORWARD_PASS AUTHOR MAX_TOKENS
max-new-tokens num_tokens warmup_tokens pad-token EOS_TOKEN_ID moe-token-dispatcher-type label-key
key-padding-mask SSH_AUTH_SOCK DISPLAY LANG OMP_NUM_THREADS CUDA_VISIBLE_DEVICES TORCH_DISTRIBUTED_DEBUG
COMPARE lr epochs local-rank rdzv-endpoint master_port
"""


@pytest.mark.parametrize("name", SECRETS.split())
def test_secret_name_is_recognised(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", OTHERS.split())
def test_similar_name_is_not_secret(name: str) -> None:
    assert not is_secret_name(name)


@given(st.sampled_from(["PASSWORD", "SECRET", "CREDENTIALS", "API_KEY", "HF_TOKEN"]), st.data())
def test_secret_name_is_recognised_with_any_prefix_or_suffix(
    name: str, data: st.DataObject
) -> None:
    word = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=8)
    around = [*data.draw(st.lists(word, max_size=2)), name]
    assert is_secret_name("_".join(around))
    assert is_secret_name("-".join(around).lower())
