#!/usr/bin/env python3
"""Makes the expected token ids of texts.json with the reference implementations.

    pip install gguf tokenizers sentencepiece protobuf
    token_ids.py FOLDER > token_ids.json

FOLDER holds SmolLM2-135M-Instruct.Q4_1.gguf (judge: `tokenizers`, byte-level BPE), and
gemma-3-270m-q4_k_m.gguf and stories260K-f32.gguf (judge: `sentencepiece`, fed with the vocabulary and
scores of the file). Special tokens are not among the texts; nothing is added around them.
"""
import json
import sys
from pathlib import Path

import sentencepiece
from gguf import GGUFReader
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import Tokenizer, models, pre_tokenizers


def metadata(path):
    return {key: field.contents() for key, field in GGUFReader(path).fields.items() if key.startswith("tokenizer")}


def byte_level(meta):
    """SmolLM2: every digit alone, then GPT-2's words."""
    assert meta["tokenizer.ggml.pre"] == "smollm"
    vocabulary = {token: id for id, token in enumerate(meta["tokenizer.ggml.tokens"])}
    pairs = [tuple(pair.split(" ")) for pair in meta["tokenizer.ggml.merges"]]
    judge = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    judge.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    return lambda text: judge.encode(text, add_special_tokens=False).ids


def sentence_piece(meta):
    """A SentencePiece model with the file's pieces; GGUF's token types are SentencePiece's."""
    proto = pb.ModelProto()
    rows = zip(meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.scores"], meta["tokenizer.ggml.token_type"])
    for token, score, kind in rows:
        # Converters write the runs of spaces that are one token as spaces; SentencePiece sees `▁`.
        proto.pieces.add(piece=token.replace(" ", "▁"), score=score, type=kind)
    proto.trainer_spec.model_type = pb.TrainerSpec.BPE
    proto.trainer_spec.byte_fallback = True
    proto.trainer_spec.unk_id = meta["tokenizer.ggml.unknown_token_id"]
    proto.trainer_spec.bos_id = meta["tokenizer.ggml.bos_token_id"]
    proto.trainer_spec.eos_id = meta["tokenizer.ggml.eos_token_id"]
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = meta.get("tokenizer.ggml.add_space_prefix", True)
    proto.normalizer_spec.remove_extra_whitespaces = False
    judge = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    return judge.encode


def main():
    here, folder = Path(__file__).parent, Path(sys.argv[1])
    texts = json.loads((here / "texts.json").read_text())
    judges = {
        "SmolLM2-135M-Instruct.Q4_1.gguf": byte_level,
        "gemma-3-270m-q4_k_m.gguf": sentence_piece,
        "stories260K-f32.gguf": sentence_piece,
    }
    out = {}
    for name, make in judges.items():
        judge = make(metadata(folder / name))
        out[name] = [judge(text) for text in texts]
    lines = [f' "{name}": [\n  ' + ",\n  ".join(json.dumps(ids) for ids in rows) + "\n ]" for name, rows in out.items()]
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
