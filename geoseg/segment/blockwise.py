"""Loops over the pixels of blocks of superpixels; see `superpixels` for what they mean."""

from __future__ import annotations

import numpy as np

from geoseg.segment.compiled import compiled


@compiled(nogil=True)
def sums_of_places(labels, n):  # type: ignore[no-untyped-def]
    """Return the number of pixels of each of `n` labels and the sums of their rows and columns, three (n,) int64."""
    count, rows, cols = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label >= 0:
                count[label] += 1
                rows[label] += y
                cols[label] += x
    return count, rows, cols


@compiled(nogil=True)
def offer(numbers, rank, labels, in_core, first_number, core):  # type: ignore[no-untyped-def]
    """Write the superpixels of one block to `numbers` where their rank is lower than `rank`, which is lowered.

    The ranks are: 0 for a superpixel of the own block with its centroid in the core, 1 for one of another block with
    its centroid in the core of that block, 2 for another one of the own block. All arrays have the same window, except
    `in_core`, one value per superpixel; `core` has the first row, first column, end row and end column of the core in
    that window.
    """
    top, left, bottom, right = core
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label < 0:
                continue
            own = top <= y < bottom and left <= x < right
            if in_core[label]:
                offered = 0 if own else 1
            elif own:
                offered = 2
            else:
                continue
            if offered < rank[y, x]:
                rank[y, x] = offered
                numbers[y, x] = first_number + label


@compiled(nogil=True)
def dense_index(numbers, per_block):  # type: ignore[no-untyped-def]
    """Return the numbers from 0 that occur, ascending (n,) int64, and the index of each pixel, (y, x) int32.

    Numbers of one block are close to each other: a table of each block that occurs replaces sorting.
    """
    blocks, begins = _tables_of_blocks(numbers, per_block)
    table = np.zeros(begins[-1], np.int32)
    index = np.empty(numbers.shape, np.int32)
    for y in range(numbers.shape[0]):
        place = 0
        for x in range(numbers.shape[1]):
            if numbers[y, x] < 0:
                index[y, x] = -1
                continue
            block = numbers[y, x] // per_block
            if blocks[place] != block:
                place = np.searchsorted(blocks, block)
            index[y, x] = begins[place] + numbers[y, x] - block * per_block
            table[index[y, x]] = 1
    seen = np.empty(table.sum(), np.int64)
    n = 0
    for place in range(blocks.size):
        for i in range(begins[place], begins[place + 1]):
            if table[i]:
                seen[n] = blocks[place] * per_block + i - begins[place]
                table[i] = n
                n += 1
    for y in range(numbers.shape[0]):
        for x in range(numbers.shape[1]):
            if index[y, x] >= 0:
                index[y, x] = table[index[y, x]]
    return seen, index


@compiled(nogil=True)
def _tables_of_blocks(numbers, per_block):  # type: ignore[no-untyped-def]
    """Return the blocks that occur, ascending (n,), and where the table of each begins, (n + 1,)."""
    blocks = np.empty(0, np.int64)
    last = np.int64(-1)
    for y in range(numbers.shape[0]):
        for x in range(numbers.shape[1]):
            if numbers[y, x] >= 0 and numbers[y, x] // per_block != last:
                last = numbers[y, x] // per_block
                if not (blocks == last).any():
                    blocks = np.append(blocks, last)
    blocks = np.sort(blocks)
    begins = np.zeros(blocks.size + 1, np.int64)
    for y in range(numbers.shape[0]):
        place = 0
        for x in range(numbers.shape[1]):
            if numbers[y, x] >= 0:
                block = numbers[y, x] // per_block
                if blocks[place] != block:
                    place = np.searchsorted(blocks, block)
                begins[place + 1] = max(begins[place + 1], numbers[y, x] - block * per_block + 1)
    return blocks, np.cumsum(begins)
