"""Texts on which tokenizers differ when one of them is wrong. The same seed gives the same texts."""

import random
import unicodedata

WORDS = (
    "the of and to in is it's I'm we've don't they're you'll he'd DON'T IT'S we'Ve 'S 'Ll ſ 'ſ it'ſ Hello World hello world "
    "naïve café résumé Übung straße STRASSE ﬁ ﬂ İstanbul ISTANBUL ǅ ǆ Ǆ ΑΣ σς Ω Å K é é ñ ñ ạ̈ ự Ελληνικά Русский язык עברית العربية "
    "हिन्दी தமிழ் ไทย ລາວ 한국어 한국어 ᄀᄀᆨ 日本語 カタカナ ｶﾀｶﾅ ひらがな 中文 漢字 ー 々 㐀 𠀀 🎉 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽 ✨ … — – ‘q’ “q” « » ‹ › ¿ ¡ "
    "٣٤ १२ Ⅷ ² ³ ¼ 1 12 123 1234 12345 3.14 1,000,000 0x1F 1e-9 №1 C++ a+b=c x<y foo_bar fooBar FooBar HTTPServer "
    "func(x) { return x; } //comment /* c */ #define &amp; <s> </s> <unk> [CLS] [SEP] [MASK] [PAD] [UNK] <|endoftext|> <|im_start|> <|im_end|> "
    "<0x0A> <0xFF> ▁ ▁▁ _ __ \\n \\t http://a.b/c?d=e#f me@x.org @user #tag $5 50% ^ ~ ` | \\ ¬ ± × ÷ € £ ¥ © ® ™ ° µ ∑ ∞ ≠ ⇒ ■ ☃"
).split(" ")
SPACES = [
    " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", " \n", "\n ", " \t ", "\u00a0", "\u3000", "\u2003", "\u200b", "\u200d",
    "\ufeff", "\u0085", "\u2028", "\x0b", "\x0c", "\x1c", "\u180e", "        ", "\n\n\n", "\t\t",
]
CONTROLS = ["\0", "\x01", "\x07", "\x1b", "\x7f", "\x80", "\x9f", "\u200e", "\u202e", "\u2060", "\ufffd", "\ufffe", "\uffff", "\U000e0001", "\ue000"]
MARKS = [chr(c) for c in range(0x300, 0x370)] + ["\u093f", "\u0e31", "\u3099", "\u20e3", "\ufe0f", "\u0f71", "\u0f72", "\u1abb", "\U0001d165"]
BLOCKS = [
    (0x20, 0x7F), (0x80, 0x250), (0x250, 0x370), (0x370, 0x530), (0x590, 0x800), (0x800, 0xE00), (0xE00, 0x1200), (0x1100, 0x1400), (0x1E00, 0x2100),
    (0x2000, 0x2070), (0x2100, 0x2C00), (0x2E80, 0x3400), (0x4E00, 0x4F00), (0xA640, 0xAC00), (0xAC00, 0xAD00), (0xF900, 0xFB50), (0xFB00, 0x10000),
    (0x10000, 0x10400), (0x11000, 0x11800), (0x1D100, 0x1D800), (0x1E800, 0x1F000), (0x1F300, 0x1FA00), (0x20000, 0x20100), (0x2EBF0, 0x2EC00), (0x2F800, 0x2FA20),
]


def character(r):
    while True:
        c = r.randrange(0x110000) if r.random() < 0.05 else r.randrange(*r.choice(BLOCKS))
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def piece(r, words):
    kind = r.random()
    if kind < 0.40:
        return r.choice(words)
    if kind < 0.60:
        return r.choice(SPACES)
    if kind < 0.72:
        return r.choice(WORDS)
    if kind < 0.82:
        return "".join(character(r) for _ in range(r.randint(1, 6)))
    if kind < 0.86:
        return r.choice("aeoUA가か한ड") + "".join(r.choice(MARKS) for _ in range(r.choice([1, 1, 2, 3, 40])))
    if kind < 0.90:
        return r.choice("!?.,;:'\"()[]{}<>/-=+*&^%$#@~|\\`_" + "…。、！？") * r.choice([1, 1, 2, 3, 17])
    if kind < 0.94:
        return "".join(r.choice("0123456789٣४²Ⅷ") for _ in range(r.randint(1, 9)))
    if kind < 0.97:
        return r.choice(CONTROLS)
    return r.choice(words) * r.choice([2, 3, 30])


def texts(count, corpus, extra=()):
    """Tricky texts, the words of corpus among them; extra are strings that matter to one tokenizer, such as its added tokens."""
    r = random.Random(7)
    words = corpus.split()[:20000]
    fixed = ["", " ", "\n", *WORDS, *SPACES, *CONTROLS, *extra, corpus[:3000], corpus[-3000:], "a" * 3000, "▁" * 50, " " * 300, "\u0301" * 70]
    fixed += [unicodedata.normalize(form, " ".join(WORDS)) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    out = [t for t in dict.fromkeys(fixed)]
    while len(out) < count:
        parts = []
        for _ in range(r.choice([1, 2, 3, 5, 8, 13, 30])):
            parts.append(r.choice(extra) if extra and r.random() < 0.06 else piece(r, words))
            if r.random() < 0.35:
                parts.append(r.choice(SPACES[:9]))
        out.append("".join(parts))
    return out[:count]


def printable(text):
    """A short form of a text for a message."""
    return ascii(text if len(text) <= 120 else text[:120] + "...")
