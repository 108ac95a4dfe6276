"""Loops over the pixels of blocks of superpixels; see `superpixels` for what they mean."""

from __future__ import annotations

import numpy as np

from geoseg.segment.compiled import compiled, internal


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
    first, begins = _tables_of_blocks(numbers, per_block)
    table = np.zeros(begins[-1], np.int32)
    index = np.empty(numbers.shape, np.int32)
    n_seen = 0
    for y in range(numbers.shape[0]):
        for x in range(numbers.shape[1]):
            if numbers[y, x] < 0:
                index[y, x] = -1
                continue
            block = numbers[y, x] // per_block
            place = begins[block - first] + numbers[y, x] - block * per_block
            index[y, x] = place
            n_seen += 1 - table[place]
            table[place] = 1
    seen = np.empty(n_seen, np.int64)
    n = 0
    for k in range(begins.size - 1):
        for place in range(begins[k], begins[k + 1]):
            if table[place]:
                seen[n] = (first + k) * per_block + place - begins[k]
                table[place] = n
                n += 1
    for y in range(numbers.shape[0]):
        for x in range(numbers.shape[1]):
            if index[y, x] >= 0:
                index[y, x] = table[index[y, x]]
    return seen, index


@internal(nogil=True)
def _tables_of_blocks(numbers, per_block):  # type: ignore[no-untyped-def]
    """Return the first block that occurs, and where the table of each block from it to the last one begins, (n + 1,).

    Plain loops: a call of `numpy.sort` or `numpy.append` takes a second to compile.
    """
    first, last = np.int64(-1), np.int64(-1)
    for y in range(numbers.shape[0]):
        for x in range(numbers.shape[1]):
            if numbers[y, x] >= 0:
                block = numbers[y, x] // per_block
                if first < 0 or block < first:
                    first = block
                last = max(last, block)
    begins = np.zeros(last - first + 2 if first >= 0 else 1, np.int64)
    for y in range(numbers.shape[0]):
        for x in range(numbers.shape[1]):
            if numbers[y, x] >= 0:
                block = numbers[y, x] // per_block
                begins[block - first + 1] = max(begins[block - first + 1], numbers[y, x] - block * per_block + 1)
    for k in range(1, begins.size):
        begins[k] += begins[k - 1]
    return first, begins
