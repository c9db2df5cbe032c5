"""Trains a reward model on preference pairs: an encoder that stays as it is, and a linear head by Bradley and Terry.

    python3 train.py --encoder FOLDER --pairs hh-rlhf.jsonl.gz --out reward.gguf

FOLDER holds a BERT as sentence-transformers keeps it: config.json, vocab.txt, model.safetensors. The pairs are HH-RLHF's:
{"chosen", "rejected"}, transcripts alike up to the last answer. States come from llama.cpp (states.mjs), so that the
head sees what it will see in service. Needs numpy and gguf; node with node-llama-cpp.

P(chosen > rejected) = sigmoid(r(chosen) - r(rejected)), r = w . state; w has an L2 penalty, whose weight is chosen by
cross-validation within the training pairs. Every fifth first question, by its hash, is held out with all its pairs.
"""

import argparse
import gzip
import hashlib
import json
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, PoolingType, TokenType
from gguf.quants import quantize

SPEAKERS = {"user": "Human", "assistant": "Assistant"}
TEMPLATE = (
    "[CLS]{% for message in messages %}{{ 'Assistant' if message.role == 'assistant' else 'Human' }}: "
    "{{ message.content }}\n\n{% endfor %}[SEP]"
)
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
FOLDS = 5


def turns(transcript: str) -> list[dict[str, str]]:
    """Messages of "\n\nHuman: …\n\nAssistant: …"."""
    parts = re.split(r"\n\n(Human|Assistant):", transcript)[1:]
    roles = {name: role for role, name in SPEAKERS.items()}
    return [
        {"role": roles[name], "content": content.strip()}
        for name, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def read_pairs(file: Path) -> list[tuple[list, list]]:
    """(chosen, rejected) of each pair as conversations that end in an answer and are alike before it."""
    opened = gzip.open(file, "rt", encoding="utf8") if file.suffix == ".gz" else file.open(encoding="utf8")
    with opened as lines:
        rows = [json.loads(line) for line in lines]
    both = [(turns(row["chosen"]), turns(row["rejected"])) for row in rows]
    return [(good, bad) for good, bad in both if good[:-1] == bad[:-1] and good != bad and good[-1]["role"] == "assistant"]


def number_of(text: str) -> int:
    """A number of 32 bits that stands for the text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def is_held_out(conversation: list[dict[str, str]]) -> bool:
    """Pairs that begin alike are on one side."""
    return number_of(conversation[0]["content"]) % FOLDS == 0


def written(conversation: list[dict[str, str]]) -> str:
    """What TEMPLATE writes."""
    said = "".join(f"{SPEAKERS[turn['role']]}: {turn['content']}\n\n" for turn in conversation)
    return f"[CLS]{said}[SEP]"


def read_safetensors(file: Path) -> dict[str, np.ndarray]:
    """Tensors in F32 by name."""
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    body = memoryview(data)[8 + size :]
    return {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


def layer(weights: dict[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """One layer's tensors under llama.cpp's names."""
    names = {
        "attn_q": "attention.self.query",
        "attn_k": "attention.self.key",
        "attn_v": "attention.self.value",
        "attn_output": "attention.output.dense",
        "attn_output_norm": "attention.output.LayerNorm",
        "ffn_up": "intermediate.dense",
        "ffn_down": "output.dense",
        "layer_output_norm": "output.LayerNorm",
    }
    return {
        f"blk.{number}.{name}.{part}": weights[f"encoder.layer.{number}.{theirs}.{part}"]
        for name, theirs in names.items()
        for part in ("weight", "bias")
    }


def averaging(number: int, width: int, hidden: int) -> dict[str, np.ndarray]:
    """A layer that learns nothing: equal attention to all tokens, so that the first token's state gets their mean.

    llama.cpp's head reads the first token's state; sentence encoders are trained to say more in the mean of all.
    """
    zeros = {"attn_q": (width, width), "attn_k": (width, width), "ffn_up": (hidden, width), "ffn_down": (width, hidden)}
    same = {"attn_v": np.eye(width) * MEAN_WEIGHT, "attn_output": np.eye(width)}
    weights = {**{name: np.zeros(shape) for name, shape in zeros.items()}, **same}
    weights |= {"attn_output_norm": np.ones(width), "layer_output_norm": np.ones(width)}
    tensors = {f"blk.{number}.{name}.weight": values for name, values in weights.items()}
    biases = {f"blk.{number}.{name}.bias": np.zeros(len(values)) for name, values in weights.items()}
    return tensors | biases


# Of the mean beside the first token's own state.
MEAN_WEIGHT = 4.0


def write_gguf(folder: Path, file: Path, head: np.ndarray | None) -> None:
    """The encoder, its states pooled from the first token; with a head, a reward model that llama.cpp ranks with."""
    config = json.loads((folder / "config.json").read_text())
    weights = read_safetensors(folder / "model.safetensors")
    width, hidden, layers = (config[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    tensors = {
        "token_embd.weight": weights["embeddings.word_embeddings.weight"],
        "position_embd.weight": weights["embeddings.position_embeddings.weight"],
        "token_types.weight": weights["embeddings.token_type_embeddings.weight"],
        "token_embd_norm.weight": weights["embeddings.LayerNorm.weight"],
        "token_embd_norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    for number in range(layers):
        tensors |= layer(weights, number)
    tensors |= averaging(layers, width, hidden)
    if head is not None:
        tensors["cls.output.weight"] = head.reshape(1, width)
        tensors["cls.output.bias"] = np.zeros(1)
    writer = GGUFWriter(file, "bert")
    writer.add_name("linear head on " + config["_name_or_path"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(hidden)
    writer.add_block_count(layers + 1)
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.CLS if head is None else PoolingType.RANK)
    add_vocabulary(writer, (folder / "vocab.txt").read_text(encoding="utf8").split("\n")[: config["vocab_size"]])
    for name, values in tensors.items():
        values = values.astype(np.float32)
        if name == "token_embd.weight" or (name.startswith("blk.") and values.ndim == 2):
            writer.add_tensor(name, quantize(values, GGMLQuantizationType.Q8_0), raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_vocabulary(writer: GGUFWriter, words: list[str]) -> None:
    """WordPiece as llama.cpp has it: a mark before what begins a word, none before what goes on."""
    special = {word: i for i, word in enumerate(words) if re.fullmatch(r"\[(PAD|UNK|CLS|SEP|MASK)\]", word)}
    is_plain = [word not in special and not re.fullmatch(r"\[unused\d+\]", word) for word in words]
    marked = [
        (word[2:] if word.startswith("##") else f"\u2581{word}") if plain else word
        for word, plain in zip(words, is_plain, strict=True)
    ]
    writer.add_tokenizer_model("bert")
    writer.add_token_list(marked)
    writer.add_token_types([TokenType.NORMAL if plain else TokenType.CONTROL for plain in is_plain])
    writer.add_token_type_count(2)
    writer.add_pad_token_id(special["[PAD]"])
    writer.add_unk_token_id(special["[UNK]"])
    writer.add_bos_token_id(special["[CLS]"])
    writer.add_eos_token_id(special["[SEP]"])
    writer.add_sep_token_id(special["[SEP]"])
    writer.add_mask_token_id(special["[MASK]"])
    writer.add_chat_template(TEMPLATE)


def states_of(encoder: Path, texts: list[str], width: int) -> np.ndarray:
    """[texts, width]; not a number where a text is too long."""
    lines = "\n".join(json.dumps(text) for text in texts)
    command = ["node", str(Path(__file__).with_name("states.mjs")), str(encoder)]
    output = subprocess.run(command, input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(output, np.float32).reshape(len(texts), width).astype(np.float64)


def fit(differences: np.ndarray, penalty: float) -> np.ndarray:
    """w that maximises the mean of log sigmoid(w . d) - penalty/2 |w|^2, by Newton's method."""
    count, width = differences.shape
    weights = np.zeros(width)
    for _ in range(50):
        p = 1 / (1 + np.exp(-differences @ weights))
        gradient = differences.T @ (1 - p) / count - penalty * weights
        hessian = (differences * (p * (1 - p))[:, None]).T @ differences / count + penalty * np.eye(width)
        step = np.linalg.solve(hessian, gradient)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def loss(weights: np.ndarray, differences: np.ndarray) -> float:
    return float(np.logaddexp(0, -differences @ weights).mean())


def chosen_penalty(differences: np.ndarray, groups: np.ndarray) -> float:
    """The one with the least loss on the folds that it was not fitted on."""

    def out_of_fold(penalty: float) -> float:
        parts = [groups % FOLDS == fold for fold in range(FOLDS)]
        return float(np.mean([loss(fit(differences[~part], penalty), differences[part]) for part in parts]))

    return min(PENALTIES, key=out_of_fold)


def accuracy(right: int, count: int) -> str:
    """With Wilson's 95 % interval."""
    z = 1.96
    share = right / count
    middle = (share + z * z / 2 / count) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / 4 / count**2)
    return f"{100 * share:.1f} % of {count} ({100 * (middle - half):.1f} to {100 * (middle + half):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, help="the pairs held out go there, as JSON lines of conversations")
    parser.add_argument("--limit", type=int, help="the first so many pairs (default: all)")
    options = parser.parse_args()
    pairs = read_pairs(options.pairs)[: options.limit]
    width = json.loads((options.encoder / "config.json").read_text())["hidden_size"]
    with tempfile.TemporaryDirectory() as folder:
        encoder = Path(folder) / "encoder.gguf"
        write_gguf(options.encoder, encoder, None)
        states = states_of(encoder, [written(one) for pair in pairs for one in pair], width)
    print("\n".join(report(pairs, states[::2] - states[1::2], options)))


def report(pairs: list[tuple[list, list]], differences: np.ndarray, options: argparse.Namespace) -> list[str]:
    """Fits the head, writes the reward model, and says how often it is right on the pairs it was not fitted on."""
    fits = np.isfinite(differences).all(axis=1)
    held_out = np.array([is_held_out(good) for good, _ in pairs]) & fits
    training = ~held_out & fits
    # No pair of another fold begins alike.
    groups = np.array([number_of(good[0]["content"]) // FOLDS for good, _ in pairs])
    penalty = chosen_penalty(differences[training], groups[training])
    head = fit(differences[training], penalty)
    write_gguf(options.encoder, options.out, head)
    if options.held_out is not None:
        rows = [{"chosen": good, "rejected": bad} for (good, bad), held in zip(pairs, held_out, strict=True) if held]
        options.held_out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    longer = np.array([len(good[-1]["content"]) - len(bad[-1]["content"]) for good, bad in pairs])

    def right(part: np.ndarray, margins: np.ndarray) -> str:
        return accuracy(int((margins[part] > 0).sum()), int(part.sum()))

    return [
        f"{len(pairs)} pairs, {int((~fits).sum())} too long; L2 penalty {penalty}",
        f"fitted on: {right(training, differences @ head)}",
        f"held out: {right(held_out, differences @ head)}",
        f"held out, by the shorter answer: {right(held_out, -longer)}",
    ]


if __name__ == "__main__":
    main()
