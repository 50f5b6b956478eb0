"""Fused and unrolled recurrent layers, and attention."""

from case_table import case, x, y

WEIGHTS = {"rnn_relu": 1, "rnn_tanh": 1, "gru": 3, "lstm": 4}
STEPS, BATCH, FEATURES, HIDDEN = 5, 2, 4, 3


def fused():
    for mode in WEIGHTS:
        for layers in (1, 2):
            for both in (False, True):
                case(
                    f"{mode} of {layers} layers{' in both directions' if both else ''}",
                    lambda s, mode=mode, layers=layers, both=both: _fused(s, mode, layers, both),
                    (STEPS, BATCH, FEATURES),
                    onednn=True,
                )
    for mode in ("gru", "lstm"):
        case(
            f"{mode} with states that go on",
            lambda s, mode=mode: _with_states(s, mode),
            *((STEPS, BATCH, FEATURES), (4, BATCH, HIDDEN), (4, BATCH, HIDDEN))[: 3 if mode == "lstm" else 2],
            onednn=True,
        )
    case("lstm from zeros", _from_zeros, (STEPS, BATCH, FEATURES), onednn=True)
    case("gru of joined weights", _joined_weights, (STEPS, BATCH, FEATURES), onednn=True)


def _fused(s, mode, layers, both):
    return s.RNN(
        x(s),
        s.var("op_parameters"),
        s.var("op_state"),
        *([s.var("op_cell")] if mode == "lstm" else []),
        state_size=HIDDEN,
        num_layers=layers,
        bidirectional=both,
        mode=mode,
        name="op",
    )


def _with_states(s, mode):
    states = [y(s)] + ([s.var("data2")] if mode == "lstm" else [])
    options = {"state_size": HIDDEN, "num_layers": 2, "bidirectional": True, "state_outputs": True}
    return s.RNN(x(s), s.var("op_parameters"), *states, mode=mode, name="op", **options)


def _from_zeros(s):
    states = [s.zeros((1, 0, HIDDEN)), s.zeros((1, 0, HIDDEN))]
    return s.RNN(x(s), s.var("op_parameters"), *states, state_size=HIDDEN, num_layers=1, mode="lstm", name="op")


def _joined_weights(s):
    """As gluon's layers have them."""
    shapes = {"i2h_weight": (9, FEATURES), "h2h_weight": (9, HIDDEN), "i2h_bias": (9,), "h2h_bias": (9,)}
    parts = [s.reshape(s.var(f"l0_{name}", shape=shape), shape=(-1,)) for name, shape in shapes.items()]
    packed = s._internal._rnn_param_concat(*parts, dim=0)
    return s.RNN(x(s), packed, s.var("op_state"), state_size=HIDDEN, num_layers=1, mode="gru", name="op")


def attention():
    case("self attention scores", lambda s: s.contrib.interleaved_matmul_selfatt_qk(x(s), heads=3), (5, 2, 36))
    case(
        "self attention values",
        lambda s: s.contrib.interleaved_matmul_selfatt_valatt(x(s), y(s), heads=3),
        (5, 2, 36),
        (6, 5, 5),
    )
    case(
        "cross attention scores",
        lambda s: s.contrib.interleaved_matmul_encdec_qk(x(s), y(s), heads=3),
        (4, 2, 12),
        (5, 2, 24),
    )
    case(
        "cross attention values",
        lambda s: s.contrib.interleaved_matmul_encdec_valatt(x(s), y(s), heads=3),
        (5, 2, 24),
        (6, 4, 5),
    )
    case("div sqrt dim", lambda s: s.contrib.div_sqrt_dim(x(s)), (2, 3, 5))


GROUPS = (fused, attention)
