"""What went wrong with a run in words, and what a person can do about it; by error code."""

ADVICE = {
    "config": ("Its config can't work", "Start another run with a changed config; the value is named below."),
    "no_checkpoint": (
        "No checkpoint is whole",
        "Each of its checkpoints is damaged, so going on would mean starting over."
        " Check the disk, then start a new run.",
    ),
    "crash_loop": (
        "It failed three times without a new checkpoint",
        "The same would happen again. Read the log, mend the cause, then resume.",
    ),
    "attempts_spent": ("It needed too many attempts", "Read the events for the cause, then resume."),
    "max_runtime": ("It ran for longer than its kind may", "Start a smaller run."),
    "numeric": (
        "A number was not finite",
        "The step was thrown away, the last checkpoint is good. Resuming repeats the same steps;"
        " a new run with a smaller learning rate often helps.",
    ),
    "disk_full": (
        "The disk is full",
        "Nothing was lost. It goes on by itself once three times its checkpoint is free.",
    ),
    "stalled": ("No step for too long", "It was ended and tries again from its checkpoint."),
    "killed": ("Its program was killed", "It tries again from its checkpoint."),
    "out_of_memory": ("It ran out of memory", "A smaller batch or model needs less. It tries again."),
    "database": ("The database was away for too long", "It tries again from its checkpoint."),
    "crashed": ("Its program failed", "It tries again from its checkpoint; the log says why it failed."),
    "no_result": ("Its program ended without a result", "It tries again; the log says more."),
    "try_again": ("Its program stopped early", "It tries again from its checkpoint."),
    "error": ("It could not be prepared or stored", "It tries again; the reason is below."),
}


def advice(code: str) -> tuple[str, str]:
    """What happened, and what to do."""
    return ADVICE.get(code, (code.replace("_", " "), ""))
