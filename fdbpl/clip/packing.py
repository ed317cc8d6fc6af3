"""Where the tokens of all classes lie: one matrix, no padding, names of equal length together.

In an image tower the images are the classes, and the prompts they share are the prefix.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CHEAP_PADDING = 2**14
"""Numbers that a CPU pads sooner than it attends to one more group: calls cost as much."""


@dataclass(frozen=True)
class Group:
    """Classes whose tokens attend together, packed next to one another.

    Attributes:
        classes: how many.
        length: slots of a class: the tokens of its longest name.
        rows: its tokens among the packed tokens of one context.
        ends: (classes,) the token at which each class is read, among the group's tokens.
        spread: (classes * length,) the token in each slot, or None where every slot is one
            token; a slot after a class's end repeats its last token.
        gather: (tokens,) the slot of each token, or None.
        later: (length, length) the slots that a slot must not see, or None.
        after: (classes, 1, length) the slots after each class's end, or None.
    """

    classes: int
    length: int
    rows: slice
    ends: Tensor
    spread: Tensor | None
    gather: Tensor | None
    later: Tensor | None
    after: Tensor | None

    @property
    def tokens(self) -> int:
        """How many tokens of one context."""
        return self.rows.stop - self.rows.start


def group_classes(lengths: Sequence[int], device: torch.device, slot: int) -> list[Group]:
    """Group classes of ascending name lengths for attention.

    A CPU computes little twice: a group is a length, or a few that are cheap to pad. A GPU waits
    for its many small kernels rather than for arithmetic: there all classes are one group.

    Args:
        lengths: tokens of each class's name.
        device: where.
        slot: numbers in a slot of one class, under all contexts.
    """
    cheap = CHEAP_PADDING if device.type == "cpu" else float("inf")
    groups, first, start = [], 0, 0
    for last, length in enumerate([*lengths, None]):
        own = lengths[first:last]
        if length is None or slot * (length * len(own) - sum(own)) > cheap:
            groups.append(_group(own, start, device))
            first, start = last, start + sum(own)
    return groups


def _group(names: Sequence[int], start: int, device: torch.device) -> Group:
    """Lay out names of so many tokens; decided here, so that no device is waited for."""
    count, size, lengths = len(names), max(names), torch.tensor(names)
    slots = torch.arange(size).expand(count, -1)  # (classes, length)
    last = lengths[:, None] - 1
    padded = min(names) != size
    firsts = (lengths.cumsum(0) - lengths)[:, None]
    return Group(
        classes=count,
        length=size,
        rows=slice(start, start + sum(names)),
        ends=(lengths.cumsum(0) - 1).to(device),
        spread=(firsts + slots.minimum(last)).flatten().to(device) if padded else None,
        gather=(slots <= last).flatten().nonzero()[:, 0].to(device) if padded else None,
        later=torch.ones(size, size, dtype=torch.bool, device=device).triu(1),
        after=(slots > last)[:, None].to(device) if padded else None,
    )


def group_images(images: int, length: int, device: torch.device) -> Group:
    """Lay out images of so many tokens each: all see all, and the first, the class token, is read.

    Args:
        images: how many.
        length: tokens of each.
        device: where.
    """
    firsts = length * torch.arange(images, device=device)
    rows = slice(0, images * length)
    return Group(images, length, rows, firsts, spread=None, gather=None, later=None, after=None)


@dataclass(frozen=True)
class Packing:
    """What lies in the rows of one matrix: K prefixes, then every group's tokens of K contexts.

    Attributes:
        sets: K, the number of contexts.
        prefix: the prefix's tokens, as the one class of a group; there may be none.
        groups: the classes.
        ends: (K * C,) the row at which each class is read, by group, context and class.
    """

    sets: int
    prefix: Group
    groups: Sequence[Group]
    ends: Tensor

    @property
    def rows(self) -> list[int]:
        """Rows of the prefixes, then of each group."""
        return [self.sets * group.tokens for group in (self.prefix, *self.groups)]

    @property
    def end_rows(self) -> list[int]:
        """Rows of each group where only end tokens are left."""
        return [self.sets * group.classes for group in self.groups]


def pack(sets: int, prefix: int, groups: Sequence[Group]) -> Packing:
    """Lay out `sets` contexts, each a prefix of so many tokens and the groups."""
    device = groups[0].ends.device
    shared = _group([prefix], 0, device)
    ends, start = [], sets * prefix
    for group in groups:
        firsts = start + group.tokens * torch.arange(sets, device=device)
        ends.append((firsts[:, None] + group.ends).flatten())
        start += sets * group.tokens
    return Packing(sets, shared, groups, torch.cat(ends))


def to_slots(rows: Tensor, group: Group, sets: int, heads: int, kinds: int) -> Tensor:
    """Bring a group's rows (K * tokens, kinds * W) to (kinds, K, heads, classes, length, d)."""
    width = rows.shape[1]
    x = rows.view(sets, group.tokens, width)
    if group.spread is not None:
        x = x.index_select(1, group.spread)
    x = x.view(sets, group.classes, group.length, kinds, heads, width // (kinds * heads))
    return x.permute(3, 0, 4, 1, 2, 5).contiguous()


def gradient_to_slots(rows: Tensor, group: Group, sets: int, heads: int) -> Tensor:
    """Bring a gradient (K * tokens, W) to (K, heads, classes, length, d), nothing after an end."""
    width = rows.shape[1]
    x = rows.view(sets, group.tokens, width)
    if group.gather is not None:
        slots = x.new_zeros(sets, group.classes * group.length, width)
        x = slots.index_copy_(1, group.gather, x)
    x = x.view(sets, group.classes, group.length, heads, width // heads)
    return x.permute(0, 3, 1, 2, 4).contiguous()


def from_slots(parts: Sequence[Tensor], group: Group, out: Tensor) -> None:
    """Write the parts (K, heads, classes, length, d) side by side into rows `out`, back again."""
    sets, heads, classes, length, depth = parts[0].shape
    shape = (sets, classes, length, len(parts), heads, depth)
    slots = out.view(shape) if group.gather is None else out.new_empty(shape)
    for kind, part in enumerate(parts):
        slots[:, :, :, kind] = part.permute(0, 2, 3, 1, 4)
    if group.gather is not None:
        rows = slots.view(sets, classes * length, -1).index_select(1, group.gather)
        out.copy_(rows.view_as(out))
