"""From class names to the tokens that stand around a learned context."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from open_clip.tokenizer import SimpleTokenizer

from fdbpl.clip.model import ClipModel
from fdbpl.system.errors import UserError


@dataclass(frozen=True)
class PromptTokens:
    """Token ids of "start, context, class name, end" for every class.

    `context` are the ids of the words a context starts from, M of them; `suffixes[c]` are the
    ids of class c's name, the full stop and the end token.
    """

    start: int
    context: tuple[int, ...]
    suffixes: tuple[tuple[int, ...], ...]

    def of(self, classes: Sequence[int]) -> "PromptTokens":
        """Return those of some classes alone, in the order given."""
        return replace(self, suffixes=tuple(self.suffixes[c] for c in classes))


def tokenize_prompts(clip: ClipModel, words: str, class_names: tuple[str, ...]) -> PromptTokens:
    """Tokenise "`words` `name`." for every class, as CoOp does.

    Raises:
        UserError: a class name is too long for the text tower, or its tokenizer is not CLIP's.
    """
    if not isinstance(clip.tokenizer, SimpleTokenizer):
        raise UserError(
            f"{clip.identity['architecture']} has a {type(clip.tokenizer).__name__}, wanted CLIP's "
            "own tokenizer, whose start and end tokens a context stands between."
        )
    texts = [f"{words} {name}." for name in class_names]
    require_room(clip, class_names, texts)
    ids = clip.tokenizer([words, *texts])
    ends = ids.argmax(dim=-1)  # the end token has the highest id
    first = int(ends[0])
    context = tuple(ids[0, 1:first].tolist())
    rows = zip(ids[1:].tolist(), ends[1:].tolist(), strict=True)
    suffixes = tuple(tuple(row[first : end + 1]) for row, end in rows)
    return PromptTokens(start=int(ids[0, 0]), context=context, suffixes=suffixes)


def require_room(clip: ClipModel, class_names: Sequence[str], texts: Sequence[str]) -> None:
    """Refuse a text that CLIP's tokenizer would cut off without a word.

    Raises:
        UserError: the text of a class, and so its name, is too long for the text tower.
    """
    if not isinstance(clip.tokenizer, SimpleTokenizer):
        return
    limit = clip.tokenizer.context_length
    counts = [len(clip.tokenizer.encode(text)) + 2 for text in texts]  # start and end
    long = [(name, n) for name, n in zip(class_names, counts, strict=True) if n > limit]
    if long:
        name, tokens = long[0]
        more = [f"{other!r} ({count})" for other, count in long[1:6]]
        verb = "is" if len(long) == 2 else "are"
        others = f" {len(long) - 1} more {verb} too long: {', '.join(more)}." if more else ""
        raise UserError(
            f"class name {name!r} makes a prompt of {tokens} tokens, wanted at most {limit} "
            f"for {clip.identity['architecture']}. Shorten the name.{others}"
        )


def embed_words(clip: ClipModel, words: str) -> torch.Tensor:
    """Return the token embeddings (M, W) of `words`: where a context starts from."""
    ids = tokenize_prompts(clip, words, ("thing",)).context
    return clip.text_tower.token_embedding.weight[list(ids)].clone()
