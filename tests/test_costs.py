"""Counted operations and bytes: by hand, and as XLA counts them where it does."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks import costs
from ipmedgan_jax.networks import strided

LAYOUT = ("NHWC", "HWIO", "NHWC")
CONVOLUTIONS = {
    "strided": partial(lax.conv_general_dilated, window_strides=(2, 2), padding=((1, 1), (1, 1))),
    "transposed": partial(lax.conv_general_dilated, window_strides=(1, 1), padding=((2, 2), (2, 2)), lhs_dilation=(2, 2)),
    "dilated": partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", rhs_dilation=(3, 2)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_and_their_gradients_are_counted_as_xla_counts_them(name):
    image, kernel = jnp.ones((2, 12, 16, 3)), jnp.ones((4, 4, 3, 5))
    convolve = partial(CONVOLUTIONS[name], dimension_numbers=LAYOUT)

    def gradients(image, kernel):
        return jax.grad(lambda x, k: jnp.sin(convolve(x, k)).sum(), argnums=(0, 1))(image, kernel)

    for function in (convolve, gradients):
        expected = jax.jit(function).lower(image, kernel).cost_analysis()["flops"]
        found = costs.operations(jax.make_jaxpr(function)(image, kernel))
        assert found == pytest.approx(expected, rel=0.02)  # XLA counts the element-wise operations too, in a later version


def test_a_batched_product_counts_two_for_each_multiplication():
    product = jax.make_jaxpr(lambda a, b: jnp.einsum("bij,bjk->bik", a, b))(jnp.ones((3, 8, 4)), jnp.ones((3, 4, 6)))
    assert costs.operations(product) == 2 * 3 * 8 * 4 * 6


def test_a_loop_counts_as_often_as_it_runs_and_what_nobody_needs_not_at_all():
    def function(a):
        unused = a @ a @ a  # noqa: F841
        return lax.scan(lambda carry, _: (carry @ a, None), a, None, length=5)[0]

    assert costs.operations(jax.make_jaxpr(function)(jnp.ones((8, 8)))) == 5 * 2 * 8**3


def test_of_a_layer_s_two_forms_the_costlier_counts_once():
    fine, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((4, 4, 3, 16))
    products = 2 * 4 * 4 * (4 * 4) * 3 * 16  # as matrix products: with the padding's
    assert costs.operations(jax.make_jaxpr(strided.downsample)(fine, kernel)) == products


def test_bytes_are_xla_s_but_for_loops_which_count_as_often_as_they_run():
    def plain(a, b):
        return jnp.tanh(a @ b).sum(0), a + 1

    compiled = jax.jit(plain).lower(jnp.ones((64, 32)), jnp.ones((32, 16))).compile()
    expected = compiled.cost_analysis()["bytes accessed"]
    assert costs.bytes_moved(compiled.as_text()) == pytest.approx(expected, rel=0.1)
    loop = jax.jit(lambda a: lax.scan(lambda carry, _: (carry @ a, None), a, None, length=50)[0])
    moved = costs.bytes_moved(loop.lower(jnp.ones((32, 32))).compile().as_text())
    assert moved >= 50 * 3 * 4 * 32 * 32


PROGRAM = """HloModule jit_f, is_scheduled=true

%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %n = f32[4]{0} negate(%p)
}

%body (t: (s32[], bf16[8,2])) -> (s32[], bf16[8,2]) {
  %t = (s32[], bf16[8,2]{1,0}) parameter(0)
  %x = bf16[8,2]{1,0} get-tuple-element(%t), index=1
  %c = (bf16[8,2]{1,0}, u8[4096]{0}) custom-call(%x, %x), custom_call_target="__cudnn$convForward"
  ROOT %r = (s32[], bf16[8,2]{1,0}) tuple(%x, %x)
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %w = (s32[], bf16[8,2]{1,0}) while(%a), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %f = f32[4]{0} fusion(%a), kind=kLoop, calls=%fused
}
"""


def test_bytes_of_a_program_are_counted_by_hand():
    convolution = 3 * 8 * 2 * 2  # two operands and the result; scratch memory does not count
    assert costs.bytes_moved(PROGRAM) == 3 * convolution + 2 * 4 * 4
