"""Checkpoints: of another model, another number of ranks, a wrapper, or damaged."""

from __future__ import annotations

from orchestrator.diagnose.signature import Signature

SIGNATURES = (
    Signature(
        id="state.compiled",
        meaning="the checkpoint is of a compiled or wrapped model: its keys have a prefix",
        patterns=(
            r"(?:Missing|Unexpected) key\(s\) in state_dict: \"(?P<prefix>(?:module\.)?_orig_mod\.)",
            r"(?:Missing|Unexpected) key\(s\) in state_dict: \"(?P<prefix>_fsdp_wrapped_module\.)",
            r"(?:Missing|Unexpected) key\(s\) in state_dict: \"(?P<prefix>_forward_module\.)",
            r"(?:Missing|Unexpected) key\(s\) in state_dict: \"(?P<prefix>module\.)",
            r"Missing key in checkpoint state_dict: \S{0,200}?(?P<prefix>_orig_mod\.)",
        ),
        cause="it was saved from, or is loaded into, a model in torch.compile, DDP or FSDP, which adds "
        "{prefix}",
        fix="save and load the inner model (model.module, model._orig_mod), or strip the prefix: "
        "{{key.removeprefix('{prefix}'): value for key, value in state.items()}}",
    ),
    Signature(
        id="state.zero-empty",
        meaning="the checkpoint has empty tensors",
        patterns=(
            (
                r"size mismatch for .*copying a param with shape "
                r"torch\.Size\(\[0(?:, \d{1,9}){0,7}\]\) from checkpoint"
            ),
            r"size mismatch for .*the shape in current model is torch\.Size\(\[0(?:, \d{1,9}){0,7}\]\)",
            r"RuntimeError: 'weight' must be 2-D",
            r"The size of tensor a \(0\) must match",
        ),
        cause="ZeRO-3 or FSDP keeps a part of each tensor on each rank; elsewhere it has the size 0",
        fix="gather before saving (deepspeed: stage3_gather_16bit_weights_on_model_save=true, or "
        "zero_to_fp32.py; FSDP: FULL_STATE_DICT), and load before the model is sharded",
    ),
    Signature(
        id="state.world-size",
        meaning="the checkpoint is of another number of ranks",
        patterns=(
            (
                r"ZeRORuntimeException: The checkpoint being loaded used a DP world size of \d+ but "
                r"the current"
            ),
            r"[Cc]heckpoint(?:ed)? .{0,80}world[ _]size.{0,80}(?:does not match|differs|!=|mismatch)",
            r"world_size .{0,40}(?:does not match|different from|!=) .{0,60}checkpoint",
            r"must match the size of tensor b .*\(raised in torch/optim/",
            r"Loading a checkpoint for MP=\d+ but world size is \d+",
            r"\bdp_degree is inconsistent before and after checkpoint",
        ),
        cause="each rank saved its part, and another number of ranks, or another way to split, loads them",
        fix="resume with the number of ranks of the checkpoint; or convert it (deepspeed: "
        "ds_to_universal.py; torch: torch.distributed.checkpoint reshards; FSDP: save FULL_STATE_DICT)",
    ),
    Signature(
        id="state.shards-missing",
        meaning="parts of a sharded checkpoint are not on this node",
        patterns=(
            r"\bFileNotFoundError: .*(?P<path>\.distcp|mp_rank_\d+|zero_pp_rank_\d+|/__\d+_\d+)",
            r"CheckpointException.*ranks: dict_keys(?P<path>)",
            r"\[Errno 2\] .*'[^'\n]{0,400}(?P<path>\.distcp|mp_rank_\d+|zero_pp_rank_\d+)",
        ),
        cause="each node wrote its part to a folder of its own that other nodes do not see, or it was "
        "saved with another layout (tensor or pipeline parallel)",
        fix="save to storage that all nodes share, or copy the parts of all nodes to each before loading",
        check="shared",
    ),
    Signature(
        id="state.metadata",
        meaning="a distributed checkpoint has no metadata on this node",
        patterns=(
            r"Exception: (?P<path>\S{1,400}) is not a distributed checkpoint",
            r"AssertionError(?P<path>) \(raised by assert metadata is not None\)",
            r"\[Errno 2\] .*'(?P<path>[^'\n]{0,400}/(?:\.metadata|metadata\.json|common\.pt))'",
        ),
        cause="one rank writes it, to a folder that other nodes do not see; or saving was interrupted, or "
        "the checkpoint has another format",
        fix="save to storage that all nodes share; or copy the folder of the main node to the others; "
        "Megatron: load with the --ckpt-format that it was saved with",
        check="shared",
    ),
    Signature(
        id="state.vocabulary",
        meaning="the checkpoint has another number of tokens",
        patterns=(
            (
                r"size mismatch for \S{0,200}(?:embed|wte|lm_head|tok_embeddings|word_embeddings)\S{0,"
                r"100}: copying"
            ),
        ),
        cause="the tokenizer has more or fewer tokens than the model of the checkpoint",
        fix="model.resize_token_embeddings(len(tokenizer)) before loading, or use the tokenizer of the "
        "checkpoint",
    ),
    Signature(
        id="state.mismatch",
        is_general=True,
        meaning="the checkpoint does not match the model",
        patterns=(
            r"Error\(s\) in loading state_dict for",
            r"Missing key in checkpoint state_dict: ",
            r"\bloaded state dict (?:has|contains) ",
        ),
        cause="it was saved from a model or optimizer with other parts or sizes, in another way, or "
        "wrapped in DDP (`module.`)",
        fix="load it into the same model, with the library and options that saved it; strip or add "
        "`module.` if only that differs",
    ),
    Signature(
        id="state.torn",
        meaning="the checkpoint is damaged",
        patterns=(
            r"PytorchStreamReader failed",
            r"unexpected EOF, expected \d+ more bytes",
            r"Ran out of input$",
            r"_pickle\.UnpicklingError: (?:pickle data was truncated|invalid load key)",
            r"SafetensorError: Error while deserializing header",
        ),
        cause="writing it was interrupted, or it is read while rank 0 still writes it; a file of 130 bytes "
        "is a pointer of git lfs",
        fix="write to a temporary name and rename it when done; let the other ranks wait at a barrier; "
        "`git lfs pull` for pointers",
    ),
    Signature(
        id="state.weights-only",
        meaning="the checkpoint contains more than tensors",
        patterns=(r"Weights only load failed",),
        cause="since torch 2.6, torch.load accepts only tensors by default",
        fix="torch.load(path, weights_only=False), if you trust the file",
    ),
    Signature(
        id="state.device",
        meaning="the checkpoint is from a GPU that this rank does not have",
        patterns=(r"Attempting to deserialize object on (?:a )?CUDA device",),
        cause="it was saved from CUDA tensors, and this rank has no such GPU",
        fix="torch.load(path, map_location='cpu'), then move it to the device of the rank",
    ),
)
