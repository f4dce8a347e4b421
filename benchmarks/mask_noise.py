"""How much dropout's masks make the recurrent hypergradient vary.

Command: python benchmarks/mask_noise.py --data-dir DIR [--draws 16] [--units 64]

On the Penn Treebank (or another text), at the weights after a short search: the
gradient in alpha for one pair of segments, over many draws of the masks. Exact: the
masks of a draw are the same in all passes. Quotient: as in the 2018 code, drawn anew in
each pass, radius 0.01. `variance` is the sum over alpha's entries of the variance over
the draws, `implicit` that of the second-order term alone (the whole less the direct
part), `mean` the norm of the mean gradient.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import Parser, Row, count, print_table, run_script, write_rows

from jdarts import tree
from jdarts.compile import jit
from jdarts.data import Segment, TextConfig, columns, load_text, segment_at
from jdarts.hypergradient import unrolled_forward
from jdarts.methods.optimizers import clip_by_norm
from jdarts.nets.language import language_model
from jdarts.nets.recurrent import Dropout, mixed_recurrent
from jdarts.problem import Passage, next_token
from jdarts.relaxation import softmax
from jdarts.spaces import DARTS_RNN
from jdarts.text_config import TEXT_WEIGHTS
from jdarts.types import Arch, Now

RADIUS = 0.01


def parser() -> Parser:
    parser = Parser(__doc__, batch=64)
    for name, default in (
        ("units", 64),
        ("length", 20),
        ("draws", 16),
        ("steps", 50),
        ("vocabulary", 2000),
    ):
        parser.add_argument(f"--{name}", type=count, default=default)
    parser.add_argument("--data-dir", type=Path, help="of the Penn Treebank")
    return parser


class Setting:
    """A supernet, some weights, one training and one validation segment."""

    def __init__(self, args: Any) -> None:
        name = "ptb" if args.data_dir else "topics"
        text = load_text(TextConfig(name, args.data_dir, vocabulary=args.vocabulary))
        size = len(text.vocabulary)
        network = mixed_recurrent(
            DARTS_RNN, vocabulary=size, units=args.units, dropout=Dropout()
        )
        model = language_model(network, lambda step: 1.0)
        relaxation = softmax(0.1)
        self.problem = next_token(model, relaxation.weights)
        self.arch = relaxation.init(jax.random.key(0), DARTS_RNN)
        train, valid = (
            jnp.asarray(columns(part, args.batch, args.length + 2, "text"))
            for part in (text.train, text.valid)
        )
        cut = lambda t, start: segment_at(t, start, args.length, args.length)  # noqa: E731
        self.w, model_state = self.problem.init(jax.random.key(1), cut(train, 0))
        self._warm_up(args, model_state, lambda i: cut(train, args.length * i))
        hidden = model_state["train"]
        self.train = self._passage(cut(train, args.length * args.steps), hidden, 0)
        self.valid = self._passage(cut(valid, 0), hidden, 1)

    @staticmethod
    def _passage(segment: Segment, hidden: jax.Array, number: int) -> Passage:
        return Passage(segment, hidden, jnp.int32(number))

    def step(self, w: Any, opt: Any, gradient: Any) -> tuple[Any, Any]:
        """The clipped step of SGD of the published search."""
        gradient, _ = clip_by_norm(TEXT_WEIGHTS.clip).update(gradient, ())
        return tree.add_scaled(w, -TEXT_WEIGHTS.lr, gradient), opt

    def _warm_up(self, args: Any, model_state: Any, segment: Any) -> None:
        @jit
        def step(w: Any, segment: Segment, number: jax.Array) -> Any:
            now = Now(jax.random.fold_in(jax.random.key(2), number), number)
            passage = self._passage(segment, model_state["train"], 0)
            gradient = jax.grad(self.problem.loss)(w, self.arch, passage, now)
            return self.step(w, (), gradient)[0]

        for i in range(args.steps):
            self.w = step(self.w, segment(i), jnp.int32(i))

    def exact(self, key: jax.Array) -> tuple[Arch, Arch]:
        """(gradient, its direct part); one draw of masks for all passes."""
        now = Now(key, jnp.int32(0))
        loss = lambda w, a, passage: self.problem.loss(w, a, passage, now)  # noqa: E731
        train = jax.tree.map(lambda x: x[None], self.train)
        _, whole = unrolled_forward(1)(
            loss, loss, self.step, self.w, (), self.arch, train, self.valid
        )
        gradient = jax.grad(loss)(self.w, self.arch, self.train)
        virtual, _ = self.step(self.w, (), gradient)
        return whole, jax.grad(loss, argnums=1)(virtual, self.arch, self.valid)

    def quotient(self, key: jax.Array) -> tuple[Arch, Arch]:
        """The same by the 2018 code's finite difference, masks drawn in each pass."""
        nows = [Now(k, jnp.int32(0)) for k in jax.random.split(key, 4)]
        loss = self.problem.loss
        gradient = jax.grad(loss)(self.w, self.arch, self.train, nows[0])
        factor = jnp.minimum(1.0, TEXT_WEIGHTS.clip / (tree.norm(gradient) + 1e-6))
        virtual, _ = self.step(self.w, (), gradient)
        v, direct = jax.grad(loss, argnums=(0, 1))(
            virtual, self.arch, self.valid, nows[1]
        )
        v, _ = clip_by_norm(TEXT_WEIGHTS.clip).update(v, ())
        radius = RADIUS / tree.norm(v)
        ahead, behind = (
            jax.grad(loss, argnums=1)(
                tree.add_scaled(self.w, sign * radius, v), self.arch, self.train, now
            )
            for sign, now in zip((1, -1), nows[2:], strict=True)
        )
        scale = TEXT_WEIGHTS.lr * factor / (2 * radius)
        implicit = jax.tree.map(lambda a, b: -scale * (a - b), ahead, behind)
        return jax.tree.map(jnp.add, direct, implicit), direct


def measure(args: Any) -> list[Row]:
    setting = Setting(args)
    keys = jax.random.split(jax.random.key(4), args.draws)
    rows = []
    for name, rule in (("exact", setting.exact), ("quotient", setting.quotient)):
        run = jit(rule)
        drawn = [jax.device_get(run(key)) for key in keys]
        whole, direct = (
            np.stack([pair[i].alpha["recurrent"].ravel() for pair in drawn])
            for i in (0, 1)
        )
        figures = {
            "variance": float(whole.var(axis=0, ddof=1).sum()),
            "implicit": float((whole - direct).var(axis=0, ddof=1).sum()),
            "mean": float(np.linalg.norm(whole.mean(axis=0))),
        }
        rows.append(Row(name, extra=figures))
    return rows


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    rows = measure(args)
    first = rows[0].extra
    heads = ("variance", "implicit", "mean")
    print_table(
        ("hypergradient", *heads, "variance / exact", "implicit / exact"),
        [
            (
                row.name,
                *(row.extra[h] for h in heads),
                *(row.extra[h] / first[h] for h in heads[:2]),
            )
            for row in rows
        ],
    )
    write_rows(rows, args)
    return 0


if __name__ == "__main__":
    run_script(main)
