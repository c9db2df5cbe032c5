"""gguf_tokenizer.py MODEL FOLDER: the tokenizer of the default model's file, as lm-evaluation-harness reads one."""

import sys

from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

fields = GGUFReader(sys.argv[1]).fields
tokens, merges, kinds = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges", "token_type"))
pairs = [tuple(merge.split(" ", 1)) for merge in merges]
tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=pairs))
tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token, kind in zip(tokens, kinds) if kind == 3])
end = tokens[fields["tokenizer.ggml.eos_token_id"].contents()]
PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, bos_token=None).save_pretrained(sys.argv[2])
