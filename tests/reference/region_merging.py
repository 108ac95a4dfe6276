"""Hierarchical merging of adjacent superpixels by scikit-image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.graph import RAG, merge_hierarchical


def merge_similar(
    totals: NDArray[np.float64], pixels: NDArray[np.int64], pairs: NDArray[np.int64], *, threshold: float
) -> NDArray[np.int64]:
    """Return the region of each row, in any numbering, merged by mean colour up to `threshold`."""
    graph = RAG()
    for row, (total, count) in enumerate(zip(totals, pixels, strict=True)):
        graph.add_node(row, labels=[row], total=total.copy(), pixels=int(count))
    for a, b in pairs:
        graph.add_edge(int(a), int(b), **_weight(graph, None, int(a), int(b)))
    labels = np.arange(len(pixels))
    merged: NDArray[np.int64] = merge_hierarchical(labels, graph, threshold, False, True, _add, _weight)
    return merged


def _add(graph: RAG, source: int, target: int) -> None:
    graph.nodes[target]["total"] = graph.nodes[target]["total"] + graph.nodes[source]["total"]
    graph.nodes[target]["pixels"] += graph.nodes[source]["pixels"]


def _weight(graph: RAG, _: object, a: int, b: int) -> dict[str, float]:
    mean_a, mean_b = (graph.nodes[node]["total"] / graph.nodes[node]["pixels"] for node in (a, b))
    return {"weight": float(np.sqrt(((mean_a - mean_b) ** 2).mean()))}
