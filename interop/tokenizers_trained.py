"""Tokenizers of every kind that the libraries make, trained on a small corpus: together they use every component."""

import json
import pathlib

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN35 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SHORT, LEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"[^\r\n\p{L}\p{N}]?"
O200K = f"{LEAD}{UPPER}*{LOWER}+{SHORT}|{LEAD}{UPPER}+{LOWER}*{SHORT}" + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = f"{LEAD}{UPPER}*{LOWER}+|{LEAD}{UPPER}+{LOWER}*" + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
NEOX = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
]
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]

Split, Seq, ByteLevel = pre_tokenizers.Split, pre_tokenizers.Sequence, pre_tokenizers.ByteLevel


def bpe(corpus, pre, norm=None, special=(), size=1200, byte_level=True, decoder=None, post=None, ignore_merges=False, **model):
    t = Tokenizer(models.BPE(**model))
    if norm:
        t.normalizer = norm
    if pre:
        t.pre_tokenizer = pre
    t.decoder = decoder or decoders.ByteLevel()
    options = dict(vocab_size=size, special_tokens=[*special, *SPECIAL], show_progress=False)
    if byte_level:
        options["initial_alphabet"] = ByteLevel.alphabet()
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            options[key] = model[key]
    t.train_from_iterator(corpus, trainers.BpeTrainer(**options))
    if ignore_merges:
        t.model.ignore_merges = True
    if post:
        t.post_processor = post(t)
    return t


def split(*patterns, how="isolated", invert=False):
    return Seq([*(Split(Regex(p), how, invert=invert) for p in patterns), ByteLevel(add_prefix_space=False, use_regex=False)])


def unigram(corpus, norm=None, pre=None, size=600, byte_fallback=False, decoder=None):
    t = Tokenizer(models.Unigram())
    if norm:
        t.normalizer = norm
    t.pre_tokenizer = pre or pre_tokenizers.Metaspace()
    t.decoder = decoder or decoders.Metaspace()
    special = ["<unk>", *SPECIAL] + ([f"<0x{b:02X}>" for b in range(256)] if byte_fallback else [])
    t.train_from_iterator(corpus, trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False))
    if byte_fallback:
        data = json.loads(t.to_str())
        data["model"]["byte_fallback"] = True
        data["added_tokens"] = data["added_tokens"][: 1 + len(SPECIAL)]
        t = Tokenizer.from_str(json.dumps(data))
    return t


def wordpiece(corpus, norm, pre, special=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), decoder=None, **options):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", **options))
    t.normalizer, t.pre_tokenizer, t.decoder = norm, pre, decoder or decoders.WordPiece()
    t.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=1000, special_tokens=list(special), show_progress=False))
    t.post_processor = processors.BertProcessing(("[SEP]", t.token_to_id("[SEP]")), ("[CLS]", t.token_to_id("[CLS]")))
    return t


def template(single, pair):
    def post(t):
        names = [w.split(":")[0] for w in f"{single} {pair}".split() if not w.startswith("$")]
        return processors.TemplateProcessing(single=single, pair=pair, special_tokens=[(n, t.token_to_id(n)) for n in dict.fromkeys(names)])

    return post


def roberta(t):
    return processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")))


def added(t):
    """Every option of added tokens."""
    t.add_tokens([
        AddedToken("<lstrip>", lstrip=True), AddedToken("<rstrip>", rstrip=True), AddedToken("word", single_word=True),
        AddedToken("Über", normalized=True), AddedToken("RAW", normalized=False), AddedToken("  ", normalized=False),
        AddedToken("\n\n", normalized=False), AddedToken("ab", normalized=False), AddedToken("abc", normalized=False), AddedToken("é", normalized=True),
    ])
    t.add_special_tokens([AddedToken("<both>", lstrip=True, rstrip=True), AddedToken("<|x|>", single_word=True), AddedToken("<LOW>", normalized=True)])
    return t


def scheme(prepend, **options):
    return pre_tokenizers.Metaspace(prepend_scheme=prepend, **options)


def llama_like(corpus, **options):
    """SentencePiece BPE with byte fallback as Llama 2 has it."""
    spaces = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return bpe(
        corpus, None, spaces, special=["<unk>", *(f"<0x{b:02X}>" for b in range(256))], byte_level=False, decoder=decoder,
        unk_token="<unk>", fuse_unk=True, byte_fallback=True, size=1600, post=template("<s> $A", "<s> $A <s>:1 $B:1"), **options,
    )


def all_tokenizers(corpus, charsmap):
    """Yields names and functions that make tokenizers. corpus is a list of lines, charsmap a normalization of SentencePiece's."""
    plain = ByteLevel(add_prefix_space=False)
    n = normalizers
    yield "byte-level GPT-2", lambda: bpe(corpus, plain)
    yield "byte-level GPT-2, prefix space, roberta", lambda: bpe(corpus, ByteLevel(add_prefix_space=True), post=roberta)
    yield "byte-level Llama-3, ignore merges", lambda: bpe(corpus, split(LLAMA3), ignore_merges=True, post=template("<s> $A", "<s> $A <s>:1 $B:1"))
    yield "byte-level Qwen, NFC", lambda: bpe(corpus, split(QWEN), n.NFC())
    yield "byte-level Qwen 3.5, NFC", lambda: bpe(corpus, split(QWEN35), n.NFC())
    yield "byte-level cl100k", lambda: bpe(corpus, split(CL100K))
    yield "byte-level o200k", lambda: bpe(corpus, split(O200K))
    yield "byte-level tekken", lambda: bpe(corpus, split(TEKKEN))
    yield "byte-level GPT-NeoX", lambda: bpe(corpus, split(NEOX))
    yield "byte-level Bloom", lambda: bpe(corpus, split(BLOOM))
    yield "byte-level DeepSeek", lambda: bpe(corpus, split(*DEEPSEEK))
    yield "byte-level removed", lambda: bpe(corpus, split(r"\s+", how="removed"))
    yield "byte-level inverted", lambda: bpe(corpus, split(r"\w+|[^\w\s]+", how="removed", invert=True))
    yield "byte-level merged with previous", lambda: bpe(corpus, split(r"[aeiou\s]", how="merged_with_previous"))
    yield "byte-level merged with next", lambda: bpe(corpus, split(r"[aeiou\s]", how="merged_with_next"))
    yield "byte-level contiguous", lambda: bpe(corpus, split(r"[aeiou\s]", how="contiguous"))
    yield "byte-level classes", lambda: bpe(corpus, split(r"\bfoo\b|\p{Lu}\p{Ll}*|[[:upper:]]+|[[:digit:]]{2}|\h+|(?m:a.b)|(?<=x)y|\p{^L}+$|\S{2,3}?"))
    yield "byte-level starcoder", lambda: bpe(corpus, Seq([pre_tokenizers.Digits(individual_digits=True), plain]))
    yield "byte-level falcon", lambda: bpe(
        corpus, Seq([pre_tokenizers.Punctuation("contiguous"), plain, pre_tokenizers.Digits(), Split(Regex("[0-9][0-9][0-9]"), "isolated")])
    )
    yield "byte-level as normalizer", lambda: bpe(corpus, Split(Regex("Ġ?[^Ġ]+"), "isolated"), n.ByteLevel())
    yield "byte-level with added tokens", lambda: added(bpe(corpus, split(LLAMA3), n.NFKC()))
    yield "BPE with suffix", lambda: bpe(
        corpus, Seq([pre_tokenizers.WhitespaceSplit()]), n.Lowercase(), byte_level=False, end_of_word_suffix="</w>", unk_token="<unk>",
        special=["<unk>"], decoder=decoders.BPEDecoder(),
    )
    yield "BPE with prefix", lambda: bpe(
        corpus, pre_tokenizers.Whitespace(), n.Sequence([n.NFD(), n.StripAccents()]), byte_level=False, continuing_subword_prefix="##",
        unk_token="<unk>", special=["<unk>"], decoder=decoders.WordPiece(),
    )
    yield "BPE unknown, not fused", lambda: bpe(corpus, pre_tokenizers.Whitespace(), byte_level=False, unk_token="<unk>", special=["<unk>"], decoder=decoders.Fuse())
    yield "BPE without unknown", lambda: bpe(corpus, pre_tokenizers.Whitespace(), byte_level=False, decoder=decoders.Fuse())
    yield "Llama-2 BPE", lambda: llama_like(corpus)
    yield "Llama-2 BPE with added tokens", lambda: added(llama_like(corpus))
    yield "Metaspace BPE, first", lambda: bpe(
        corpus, scheme("first", split=False), byte_level=False, unk_token="<unk>", special=["<unk>"], decoder=decoders.Metaspace(prepend_scheme="first"), fuse_unk=True
    )
    yield "Metaspace BPE, never", lambda: bpe(
        corpus, scheme("never"), byte_level=False, unk_token="<unk>", special=["<unk>"], decoder=decoders.Metaspace(prepend_scheme="never")
    )
    yield "Metaspace first after stripping", lambda: added(bpe(
        corpus, scheme("first"), n.Sequence([n.Strip(), n.Replace(Regex(" {2,}"), " ")]), byte_level=False, unk_token="<unk>", special=["<unk>"], decoder=decoders.Metaspace()
    ))
    yield "Unigram", lambda: unigram(corpus)
    yield "Unigram, byte fallback", lambda: unigram(
        corpus, byte_fallback=True, size=900, decoder=decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    )
    yield "Unigram, whole text", lambda: unigram(corpus, pre=scheme("always", split=False))
    yield "Unigram, charsmap", lambda: unigram(corpus, n.Sequence([n.Precompiled(charsmap), n.Replace(Regex(" {2,}"), " ")]))
    yield "Unigram, NMT and NFKC", lambda: unigram(corpus, n.Sequence([n.Nmt(), n.NFKC(), n.Lowercase()]))
    yield "Unigram, scripts", lambda: unigram(corpus, n.NFKD(), Seq([pre_tokenizers.UnicodeScripts(), scheme("always")]))
    yield "WordPiece, BERT", lambda: wordpiece(corpus, n.BertNormalizer(), pre_tokenizers.BertPreTokenizer())
    yield "WordPiece, cased", lambda: wordpiece(
        corpus, n.BertNormalizer(lowercase=False, strip_accents=True, handle_chinese_chars=False), pre_tokenizers.BertPreTokenizer(), decoder=decoders.WordPiece(cleanup=False)
    )
    yield "WordPiece, not cleaned", lambda: added(wordpiece(
        corpus, n.BertNormalizer(clean_text=False, strip_accents=False), Seq([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("merged_with_next")]),
        max_input_chars_per_word=12,
    ))
    yield "WordLevel", lambda: word_level(corpus)
    yield "delimiter and fixed length", lambda: bpe(
        corpus, Seq([pre_tokenizers.CharDelimiterSplit("e"), pre_tokenizers.FixedLength(length=4)]), byte_level=False, unk_token="<unk>", special=["<unk>"],
        decoder=decoders.CTC(pad_token="<s>", word_delimiter_token="a"),
    )


def word_level(corpus):
    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.Strip(left=True, right=False), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.train_from_iterator(corpus, trainers.WordLevelTrainer(vocab_size=2000, special_tokens=["<unk>", *SPECIAL], show_progress=False))
    return t


def sentencepiece_models(corpus_file, folder):
    """Yields names and files of models that sentencepiece trains."""
    variants = {
        "unigram": dict(model_type="unigram"),
        "unigram, byte fallback, nfkc_cf": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="nfkc_cf", vocab_size=900),
        "unigram, user-defined": dict(model_type="unigram", user_defined_symbols=["<sep>", "foo", "the", "  "]),
        "bpe": dict(model_type="bpe"),
        "bpe, Llama": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, vocab_size=900),
        "bpe, Gemma": dict(
            model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False,
            user_defined_symbols=["\n", "\n\n", "▁▁", "▁▁▁▁", "<start_of_turn>"], vocab_size=900,
        ),
        "bpe, suffix": dict(model_type="bpe", treat_whitespace_as_suffix=True),
    }
    for i, (name, options) in enumerate(variants.items()):
        stem = pathlib.Path(folder, f"spm{i}")
        full = dict(vocab_size=700, character_coverage=0.98, minloglevel=2, num_threads=1) | options
        sentencepiece.SentencePieceTrainer.Train(input=str(corpus_file), model_prefix=str(stem), **full)
        yield name, stem.with_suffix(".model")


def charsmap_of(model_file):
    """The precompiled normalization in a SentencePiece model: field 2 of its field 3."""

    def fields(data):
        at = 0
        while at < len(data):
            tag, at = varint(data, at)
            if tag & 7 == 2:
                size, at = varint(data, at)
                yield tag >> 3, data[at : at + size]
                at += size
            elif tag & 7 == 0:
                _, at = varint(data, at)
            else:
                at += 4 if tag & 7 == 5 else 8

    def varint(data, at):
        value = shift = 0
        while True:
            b = data[at]
            value, at, shift = value | (b & 127) << shift, at + 1, shift + 7
            if b < 128:
                return value, at

    spec = next(v for k, v in fields(model_file.read_bytes()) if k == 3)
    return next(v for k, v in fields(spec) if k == 2)
