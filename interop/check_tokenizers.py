"""Compares ids and texts of `neuroquant tokenize` with the libraries tokenizers and sentencepiece, text by text.

    check_tokenizers.py BINARY SHARED [--texts N] [--only PART]

Checked are the tokenizer files in SHARED and tokenizers trained here, one for every kind of component. A row counts the texts
that differ; the first of them is printed.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import sentencepiece
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer, Tokenizer

import tokenizer_texts
import tokenizers_trained
from table import Table

REAL = ["golm-15m", "stories260k", "tokenizers/gpt2", "tokenizers/bert-base-uncased"]


def ours(binary, path, texts, *flags):
    done = subprocess.run(
        [binary, "tokenize", str(path), "--batch", "--json", "--quiet", *flags], input=json.dumps(texts), capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:] or done.stdout[-500:])
    return json.loads(done.stdout)


def differences(got, want, texts, show):
    """How many texts differ; prints the first."""
    bad = [i for i, (g, w) in enumerate(zip(got, want)) if g != w]
    for i in bad[:show]:
        print(f"    text {tokenizer_texts.printable(texts[i])}\n    ours {ascii(got[i])[:300]}\n    want {ascii(want[i])[:300]}")
    return len(bad) + abs(len(got) - len(want))


def check(table, name, binary, path, reference, texts, special=True, show=1):
    """Compares with a Tokenizer of the library."""
    try:
        got = ours(binary, path, texts, *([] if special else ["--plain"]))
    except RuntimeError as e:
        table.error(name, "tokenize", e)
        return
    ids = [reference.encode(t, add_special_tokens=special).ids for t in texts]
    table.at_most(name, f"of {len(texts)} texts, ids differ", differences([g["ids"] for g in got], ids, texts, show), 0)
    for key, skip in (("decoded", False), ("decoded_without_special", True)):
        want = [reference.decode(i, skip_special_tokens=skip) for i in ids]
        table.at_most(name, f"{key} differ", differences([g[key] for g in got], want, texts, show), 0)


def check_stored(table, name, binary, path, file):
    cases = json.loads(file.read_text())
    texts = [c["text"] for c in cases]
    for key, flags in (("ids", []), ("ids_no_special", ["--plain"])):
        got = [g["ids"] for g in ours(binary, path, texts, *flags)]
        table.at_most(name, f"of {len(texts)} stored cases, {key} differ", differences(got, [c[key] for c in cases], texts, 1), 0)


def check_sentencepiece(table, name, binary, path, texts):
    reference = sentencepiece.SentencePieceProcessor(model_file=str(path))
    # Control symbols in a text are special tokens here, as in transformers, and plain text there.
    control = [reference.IdToPiece(i) for i in range(reference.GetPieceSize()) if reference.IsControl(i) or reference.IsUnknown(i)]
    texts = [t for t in texts if not any(c in t for c in control)]
    try:
        got = ours(binary, path, texts, "--plain")
    except RuntimeError as e:
        table.error(name, "tokenize", e)
        return
    table.at_most(name, f"of {len(texts)} texts, ids differ", differences([g["ids"] for g in got], [reference.EncodeAsIds(t) for t in texts], texts, 1), 0)


def check_speed(table, name, path, text):
    """MB/s of the library on one long text, one thread. Ours are `go test -bench Encode ./internal/tokenizer`, of the same text."""
    reference = Tokenizer.from_file(str(path / "tokenizer.json"))
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        reference.encode(text)
        best = min(best, time.perf_counter() - start)
    table.note(name, "MB/s of tokenizers", len(text.encode()) / 1e6 / best)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("binary")
    p.add_argument("shared", type=pathlib.Path)
    p.add_argument("--texts", type=int, default=10000)
    p.add_argument("--only", default="", help="part of a name")
    args = p.parse_args()
    data = args.shared / "data"
    corpus = "\n".join((data / "golm-15m/eval" / f).read_text() for f in ("wikitext2-test-part1.txt", "go-test-part1.txt"))
    table = Table()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        extra = tokenizers_trained.SPECIAL + ["<lstrip>", "<rstrip>", "<both>", "word", "words", "Über", "über", "RAW", "abcd", "  <both>  ", "<|x|>", "<LOW>", "<low>"]
        texts = tokenizer_texts.texts(args.texts, corpus, extra)
        wanted = lambda name: args.only.lower() in name.lower()

        for name in filter(wanted, REAL):
            path = data / name
            file = path / ("expected.json" if (path / "expected.json").exists() else "expected/tokenizer_ids.json")
            check_stored(table, name, args.binary, path, file)
            check(table, name, args.binary, path, Tokenizer.from_file(str(path / "tokenizer.json")), texts)
            check_speed(table, name, path, corpus)

        lines = [line for line in corpus.split("\n") if line][:2500] + tokenizer_texts.texts(300, corpus)
        lines_file = folder / "corpus.txt"
        lines_file.write_text("\n".join(line[:2000].replace("\n", " ").replace("\r", " ").replace("\0", " ") for line in lines))
        charsmap = None
        for name, path in tokenizers_trained.sentencepiece_models(lines_file, folder):
            charsmap = charsmap or tokenizers_trained.charsmap_of(path)
            if wanted("sentencepiece " + name):  # and a text so long that scores are taken back to zero on the way
                check_sentencepiece(table, "sentencepiece " + name, args.binary, path, [*texts, corpus[:300000].replace("<unk>", "")])

        for i, (name, make) in enumerate(tokenizers_trained.all_tokenizers(lines, charsmap)):
            if wanted(name):
                path = folder / f"t{i}"
                path.mkdir()
                make().save(str(path / "tokenizer.json"))
                check(table, name, args.binary, path, Tokenizer.from_file(str(path / "tokenizer.json")), texts)

        if wanted("vocab.json"):
            path = folder / "vocab"
            path.mkdir()
            t = ByteLevelBPETokenizer()
            t.train_from_iterator(lines, vocab_size=1000, show_progress=False)
            t.save_model(str(path))
            check(table, "vocab.json", args.binary, path, ByteLevelBPETokenizer.from_file(str(path / "vocab.json"), str(path / "merges.txt")), texts)
        if wanted("vocab.txt"):
            path = folder / "bert"
            path.mkdir()
            t = BertWordPieceTokenizer()
            t.train_from_iterator(lines, vocab_size=1000, show_progress=False)
            t.save_model(str(path))
            check(table, "vocab.txt", args.binary, path, BertWordPieceTokenizer.from_file(str(path / "vocab.txt")), texts)
    table.finish()


if __name__ == "__main__":
    sys.exit(main())
