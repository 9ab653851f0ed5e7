# SPDX-License-Identifier: MIT
"""Writes activations.npy: 64 tokens x 512 channels of float32, shaped like the hidden states of a LLaMA."""
import pathlib
import sys

import numpy as np

TOKENS, CHANNELS = 64, 512


def hidden_states():
    # RandomState: NumPy promises that its stream stays the same.
    random = np.random.RandomState(0)
    token_scale = np.exp(0.2 * random.standard_normal((TOKENS, 1)))
    channel_scale = np.exp(0.4 * random.standard_normal(CHANNELS))
    x = 0.3 * token_scale * channel_scale * random.standard_normal((TOKENS, CHANNELS))
    # A few channels are far from 0 for every token (Dettmers et al. 2022, arXiv:2208.07339),
    outliers = random.choice(CHANNELS, 4, replace=False)
    x[:, outliers] += token_scale * np.array([18.0, -12.0, 9.0, -7.0])
    # and two of them are huge for the first token (Sun et al. 2024, arXiv:2402.17762).
    x[0, outliers[:2]] = [812.0, -455.0]
    return x.astype(np.float32)


if __name__ == "__main__":
    default = pathlib.Path(__file__).with_name("activations.npy")
    np.save(sys.argv[1] if len(sys.argv) > 1 else default, hidden_states())
