"""The recurrent decoder of Show, Attend and Tell (Xu et al. 2015, https://arxiv.org/abs/1502.03044)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seesay.models.attention import AdditiveAttention
from seesay.models.decoder import Decoded, Decoder, Memory, Step
from seesay.models.embedding import WordEmbedding


class State(NamedTuple):
    """The LSTM's state, every part (B, K, H)."""

    h: Tensor
    c: Tensor


class RecurrentDecoder(Decoder):
    """LSTM with soft attention, gated context and deep output.

    With regions a_i, previous word y, state h (numbers of the paper's equations in brackets; `values` are W_v a_i):

        h_0, c_0 = tanh f_h(mean a), tanh f_c(mean a)                    [3.1.2]
        alpha    = softmax(v . tanh(W_a a_i + W_h h))                    [4, 5]
        z        = sigmoid(W_b h) * sum_i alpha_i values_i               [13, 4.2.1; the gate here is one per channel]
        h, c     = LSTM([E y; z], h, c)                                  [1, 2, 3]
        p(y')    = softmax(E (E y + L_h h + L_z z))                      [7, output words share the embedding]

    Args:
        region_size: D, features of a region.
        vocab_size: V.
        size: H, the LSTM's width (`decoder.size`).
        embedding_size: M, width of a word (`embedding.size`).
        attention_size: A (`attention.size`).
        dropout: on values, words and the output, each alone.
    """

    State = State

    def __init__(
        self,
        region_size: int,
        vocab_size: int,
        size: int = 512,
        embedding_size: int = 300,
        attention_size: int = 192,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.embedding = WordEmbedding(vocab_size, embedding_size)
        self.value = nn.Linear(region_size, size)
        self.attention = AdditiveAttention(size, size, attention_size)
        self.start_state = nn.Linear(size, 2 * size)
        self.gate = nn.Linear(size, size)
        self.word_in = nn.Linear(embedding_size, 4 * size)
        self.recur = nn.Linear(2 * size, 4 * size, bias=False)  # [z; h] -> the four gates
        self.word_out = nn.Linear(embedding_size, embedding_size, bias=False)
        self.deep_out = nn.Linear(2 * size, embedding_size)  # [h; z] -> M
        self.dropout = nn.Dropout(dropout)
        self._initialise(size)

    def _initialise(self, size: int) -> None:
        with torch.no_grad():
            self.word_in.bias[size : 2 * size].fill_(1.0)  # an open forget gate at the start

    def prepare(self, regions: Tensor) -> Memory:
        """Everything that is the same at each step: (B, P, D) -> Memory."""
        values = self.dropout(torch.relu(self.value(regions)))
        return Memory(values, self.attention.project(values))

    def start(self, memory: Memory, beams: int = 1) -> State:
        """The state before the first word, (B, beams, H) each."""
        both = torch.tanh(self.start_state(memory.values.mean(dim=1, keepdim=True)))
        h, c = both.expand(-1, beams, -1).chunk(2, dim=-1)
        return State(h.contiguous(), c.contiguous())

    def step(self, tokens: Tensor, state: State, memory: Memory) -> Step:
        """One word further.

        Args:
            tokens: (B, K) ids of the words just read.
            state: parts (B, K, H).
            memory: of the B photos, without K.
        """
        words = self.dropout(self.embedding(tokens))
        context, attention = self._look(state.h, memory)
        state = self._advance(self.word_in(words), context, state)
        logprobs = self.logits(self._out(words, state.h, context)).log_softmax(dim=-1)
        return Step(logprobs, state, attention)

    def forward(self, tokens: Tensor, lengths: Tensor, memory: Memory) -> Decoded:
        """Read whole captions (teacher forcing); equal to repeated `step`, with the words' part done at once.

        Args:
            tokens: (B, K, L) ids, start token first; each photo's captions the longest first.
            lengths: (B, K) real tokens of each caption; what comes after is padding.
            memory: of the B photos.

        Returns:
            hidden and attention; what stands there after a caption's end means nothing.
        """
        beams, steps = tokens.shape[1:]
        words = self.dropout(self.embedding(tokens))
        words_in = self.word_in(words).unbind(dim=2)  # indexing in the loop would cost a full gradient each time
        state = self.start(memory, beams)
        # Captions are sorted by length within a photo, so the columns still running at step t are the first ones.
        running = (lengths.amax(dim=0).unsqueeze(1) > torch.arange(steps, device=lengths.device)).sum(dim=0).tolist()
        outs, contexts, maps = [], [], []
        for t, k in enumerate(running):
            state = State(state.h[:, :k], state.c[:, :k])
            context, attention = self._look(state.h, memory)
            state = self._advance(words_in[t][:, :k], context, state)
            pad = (0, 0, 0, beams - k)
            outs.append(nn.functional.pad(state.h, pad))
            contexts.append(nn.functional.pad(context, pad))
            maps.append(nn.functional.pad(attention, pad))
        hidden = self._out(words, torch.stack(outs, dim=2), torch.stack(contexts, dim=2))
        return Decoded(hidden, torch.stack(maps, dim=2))

    def _look(self, h: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        attention = self.attention(h, memory.keys)
        context = torch.sigmoid(self.gate(h)) * (attention @ memory.values)
        return context, attention

    def _advance(self, words_in: Tensor, context: Tensor, state: State) -> State:
        gates = words_in + self.recur(torch.cat([context, state.h], dim=-1))
        i, f, g, o = gates.chunk(4, dim=-1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)
        return State(torch.sigmoid(o) * torch.tanh(c), c)

    def _out(self, words: Tensor, h: Tensor, context: Tensor) -> Tensor:
        deep = self.deep_out(self.dropout(torch.cat([h, context], dim=-1)))
        return self.dropout(torch.tanh(deep + self.word_out(words)))
