"""TRL's RewardTrainer on the files that bench/rewards.py wrote; runs in TRL's own environment, not in ours."""

import json
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    def rows(file):
        return [json.loads(line) for line in Path(file).read_text().splitlines()]

    torch.set_num_threads(settings["threads"])
    torch.manual_seed(settings["seed"])
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    model = AutoModelForSequenceClassification.from_pretrained(
        settings["model"], num_labels=1, dtype=torch.float32
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    more = {}
    if settings["grouped"]:
        more = {
            "train_sampling_strategy": "group_by_length",
            "length_column_name": "length",
            "remove_unused_columns": False,
        }
    config = RewardConfig(
        output_dir=settings["output"],
        per_device_train_batch_size=settings["micro_batch"],
        gradient_accumulation_steps=settings["batch"] // settings["micro_batch"],
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=settings["warm_up"],
        adam_epsilon=1e-5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_length=settings["max_length"],
        bf16=settings["precision"] == "bfloat16",
        gradient_checkpointing=settings["checkpointing"],
        save_strategy="no",
        report_to=[],
        logging_steps=1000,
        disable_tqdm=True,
        seed=settings["seed"],
        use_cpu=settings["device"] == "cpu",
        **more,
    )
    trainer = RewardTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows(settings["train"])),
        eval_dataset=Dataset.from_list(rows(settings["eval"])),
        processing_class=tokenizer,
    )
    began, processor = time.monotonic(), time.process_time()
    trainer.train()
    took, used = time.monotonic() - began, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if settings["device"] != "cpu":
        peak = torch.cuda.max_memory_allocated()
    accuracy = trainer.evaluate()["eval_accuracy"]
    Path(settings["answer"]).write_text(
        json.dumps({"seconds": took, "processor": used, "peak": peak, "accuracy": accuracy})
    )


if __name__ == "__main__":
    main()
