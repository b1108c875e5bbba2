"""Golden numbers of `scaled_dot_product_attention`, `MultiheadAttention` and the `Transformer` family."""

import torch
import torch.nn.functional as F

import data
import nn

INF = float("inf")


def tensor(salt, *shape):
    return data.symmetric(shape, 600 + salt, 1.0)


def chosen(salt, *shape):
    """A `bool` mask, about one third of it true, with every first entry along the last dimension false."""
    mask = data.unit(shape, 700 + salt) < 0.35
    mask[..., 0] = False
    return mask


def additive(salt, *shape):
    """A mask of floats, with -inf among them but not in the first column."""
    return data.symmetric(shape, 720 + salt, 2.0).masked_fill(chosen(salt, *shape), -INF)


def scaled_dot_product_attention():
    with nn.layer("scaled_dot_product_attention") as layer:

        def case(name, *inputs, wrt=(0, 1, 2), **given):
            def call(_, q, k, v, mask=None):
                return F.scaled_dot_product_attention(q, k, v, mask, **given)

            layer.case(name, torch.nn.Identity(), *inputs, call=call, wrt=list(wrt))

        q, k, v = tensor(0, 2, 3, 5, 7), tensor(1, 2, 3, 4, 7), tensor(2, 2, 3, 4, 6)
        case("plain", q, k, v)
        case("matrices", tensor(0, 5, 3), tensor(1, 2, 3), tensor(2, 2, 4))
        case("scale", q, k, v, scale=0.3)
        case("causal", q, k, v, is_causal=True)
        case("causal_square", tensor(0, 1, 6, 4), tensor(1, 1, 6, 4), tensor(2, 1, 6, 4), is_causal=True)
        case("mask_bool", q, k, v, ~chosen(0, 5, 4))
        case("mask_float", q, k, v, additive(1, 2, 1, 5, 4))
        case("mask_trained", q, k, v, tensor(3, 3, 5, 4), wrt=(0, 1, 2, 3))
        nothing = ~chosen(0, 5, 4)
        nothing[2] = False
        case("mask_all_of_a_row", q, k, v, nothing)
        case("grouped", tensor(0, 2, 6, 5, 4), tensor(1, 2, 2, 3, 4), tensor(2, 2, 2, 3, 5), enable_gqa=True)
        case("grouped_causal", tensor(0, 4, 3, 4), tensor(1, 1, 3, 4), tensor(2, 1, 3, 4), enable_gqa=True, is_causal=True)
        mask = additive(2, 2, 6, 5, 3)
        case("grouped_mask", tensor(0, 2, 6, 5, 4), tensor(1, 2, 2, 3, 4), tensor(2, 2, 2, 3, 5), mask, enable_gqa=True)


def multihead_attention():
    attention = torch.nn.MultiheadAttention
    with nn.layer("MultiheadAttention") as layer:

        def single(name, module, x, masks=(), **given):
            """Self-attention: query, key and value are one tensor."""
            names = [name for name, _ in masks]
            call = lambda module, x, *values: module(x, x, x, **dict(zip(names, values)), **given)
            layer.case(name, module, x, *[mask for _, mask in masks], call=call, wrt=[0])

        def pair(name, module, x, memory, masks=(), **given):
            """Key and value are one tensor."""
            names = [name for name, _ in masks]
            call = lambda module, x, y, *values: module(x, y, y, **dict(zip(names, values)), **given)
            layer.case(name, module, x, memory, *[mask for _, mask in masks], call=call, wrt=[0, 1])

        def triple(name, module, q, k, v, masks=(), **given):
            names = [name for name, _ in masks]
            call = lambda module, q, k, v, *values: module(q, k, v, **dict(zip(names, values)), **given)
            layer.case(name, module, q, k, v, *[mask for _, mask in masks], call=call, wrt=[0, 1, 2])

        single("self", attention(6, 2), tensor(0, 5, 3, 6))
        single("self_batch_first", attention(6, 3, batch_first=True), tensor(0, 3, 5, 6))
        single("self_unbatched", attention(6, 1), tensor(0, 5, 6))
        single("batch_of_one", attention(4, 4, bias=False), tensor(0, 5, 1, 4), need_weights=False)
        pair("memory", attention(6, 2), tensor(0, 5, 3, 6), tensor(1, 4, 3, 6), average_attn_weights=False)
        triple("three", attention(6, 2), tensor(0, 5, 3, 6), tensor(1, 4, 3, 6), tensor(2, 4, 3, 6))
        triple("kdim_vdim", attention(6, 2, kdim=3, vdim=5), tensor(0, 5, 3, 6), tensor(1, 4, 3, 3), tensor(2, 4, 3, 5))
        triple(
            "kdim_no_bias",
            attention(6, 3, kdim=7, bias=False, batch_first=True),
            tensor(0, 2, 5, 6),
            tensor(1, 2, 4, 7),
            tensor(2, 2, 4, 6),
        )
        both = attention(6, 2, add_bias_kv=True, add_zero_attn=True)
        masks = [("attn_mask", chosen(0, 5, 5)), ("key_padding_mask", chosen(1, 3, 5))]
        single("bias_kv_zero_attn", both, tensor(0, 5, 3, 6), masks)
        single("zero_attn", attention(6, 2, add_zero_attn=True, batch_first=True), tensor(0, 1, 5, 6))
        single("mask_bool", attention(6, 2), tensor(0, 5, 3, 6), [("attn_mask", chosen(0, 5, 5))])
        single("mask_float", attention(6, 2), tensor(0, 5, 3, 6), [("attn_mask", additive(0, 5, 5))])
        single("mask_each_head", attention(6, 2), tensor(0, 5, 3, 6), [("attn_mask", chosen(0, 6, 5, 5))])
        single("mask_unbatched", attention(6, 2), tensor(0, 5, 6), [("key_padding_mask", chosen(0, 5))])
        masks = [("attn_mask", additive(0, 5, 5)), ("key_padding_mask", additive(1, 3, 5))]
        single("mask_both_float", attention(6, 2, batch_first=True), tensor(0, 3, 5, 6), masks, need_weights=False)
        causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
        masks = [("attn_mask", causal)]
        single("causal", attention(6, 2), tensor(0, 5, 3, 6), masks, need_weights=False, is_causal=True)
        layer.case(
            "dropout_in_evaluation",
            attention(6, 2, dropout=0.4),
            tensor(0, 5, 3, 6),
            call=lambda module, x: module(x, x, x),
            training=False,
        )


def encoders():
    encoder_layer = torch.nn.TransformerEncoderLayer
    with nn.layer("TransformerEncoderLayer") as layer:
        layer.case("post_norm", encoder_layer(6, 2, 10, dropout=0.0), tensor(0, 5, 3, 6))
        layer.case("norm_first", encoder_layer(6, 3, 10, dropout=0.0, norm_first=True, batch_first=True), tensor(0, 3, 5, 6))
        module = encoder_layer(6, 2, 7, dropout=0.0, activation="gelu", layer_norm_eps=1e-3, bias=False)
        layer.case("gelu_no_bias", module, tensor(0, 5, 1, 6))
        layer.case("unbatched", encoder_layer(4, 1, 10, dropout=0.0), tensor(0, 5, 4))
        layer.case("dropout_in_evaluation", encoder_layer(6, 2, 10), tensor(0, 5, 3, 6), training=False)
        call = lambda module, x, mask, padding: module(x, src_mask=mask, src_key_padding_mask=padding)
        inputs = [tensor(0, 5, 3, 6), chosen(0, 5, 5), chosen(1, 3, 5)]
        layer.case("masks", encoder_layer(6, 2, 10, dropout=0.0), *inputs, call=call)
        causal = torch.nn.Transformer.generate_square_subsequent_mask(5)
        call = lambda module, x, mask: module(x, src_mask=mask, is_causal=True)
        layer.case("causal", encoder_layer(6, 2, 10, dropout=0.0), tensor(0, 5, 3, 6), causal, call=call, wrt=[0])
    with nn.layer("TransformerEncoder") as layer:
        one = encoder_layer(6, 2, 10, dropout=0.0, batch_first=True)
        layer.case("two_layers", torch.nn.TransformerEncoder(one, 2), tensor(0, 3, 5, 6))
        one = encoder_layer(6, 2, 10, dropout=0.0, norm_first=True)
        norm = torch.nn.LayerNorm(6)
        layer.case("norm", torch.nn.TransformerEncoder(one, 3, norm, enable_nested_tensor=False), tensor(0, 5, 1, 6))
        call = lambda module, x, mask, padding: module(x, mask=mask, src_key_padding_mask=padding)
        inputs = [tensor(0, 5, 3, 6), additive(0, 6, 5, 5), additive(1, 3, 5)]
        one = encoder_layer(6, 2, 10, dropout=0.0)
        layer.case("masks", torch.nn.TransformerEncoder(one, 2), *inputs, call=call, wrt=[0])


def decoders():
    decoder_layer = torch.nn.TransformerDecoderLayer
    target, memory = tensor(0, 5, 3, 6), tensor(1, 4, 3, 6)
    first = lambda *tensors: [value.transpose(0, 1).contiguous() for value in tensors]
    names = ["tgt_mask", "memory_mask", "tgt_key_padding_mask", "memory_key_padding_mask"]
    call = lambda module, x, y, *masks: module(x, y, **dict(zip(names, masks)))
    masks = [chosen(0, 5, 5), chosen(1, 5, 4), chosen(2, 3, 5), chosen(3, 3, 4)]
    with nn.layer("TransformerDecoderLayer") as layer:
        layer.case("post_norm", decoder_layer(6, 2, 10, dropout=0.0), target, memory)
        module = decoder_layer(6, 3, 10, dropout=0.0, norm_first=True, batch_first=True)
        layer.case("norm_first", module, *first(target, memory))
        module = decoder_layer(6, 2, 7, dropout=0.0, activation="gelu", layer_norm_eps=1e-3, bias=False)
        layer.case("gelu_no_bias", module, target[:, :1].contiguous(), memory[:, :1].contiguous())
        layer.case("masks", decoder_layer(6, 2, 10, dropout=0.0), target, memory, *masks, call=call)
        layer.case("dropout_in_evaluation", decoder_layer(6, 2, 10), target, memory, training=False)
    with nn.layer("TransformerDecoder") as layer:
        layer.case("two_layers", torch.nn.TransformerDecoder(decoder_layer(6, 2, 10, dropout=0.0), 2), target, memory)
        norm = torch.nn.LayerNorm(6, bias=False)
        module = decoder_layer(6, 2, 10, dropout=0.0, norm_first=True, batch_first=True)
        layer.case("norm", torch.nn.TransformerDecoder(module, 2, norm), *first(target, memory))
        module = torch.nn.TransformerDecoder(decoder_layer(6, 2, 10, dropout=0.0), 2)
        layer.case("masks", module, target, memory, *masks, call=call)


def transformers():
    def transformer(*given, **options):
        return torch.nn.Transformer(*given, **({"dropout": 0.0} | options))

    source, target = tensor(0, 5, 3, 6), tensor(1, 4, 3, 6)
    with nn.layer("Transformer") as layer:
        layer.case("small", transformer(6, 2, 1, 1, 8), source, target)
        names = ["src_mask", "tgt_mask", "memory_mask"] + [f"{name}_key_padding_mask" for name in ("src", "tgt", "memory")]
        masks = [chosen(0, 5, 5), chosen(1, 4, 4), chosen(2, 4, 5), chosen(3, 3, 5), chosen(4, 3, 4), chosen(5, 3, 5)]
        call = lambda module, x, y, *masks: module(x, y, **dict(zip(names, masks)))
        layer.case("masks", transformer(6, 2, 2, 2, 8), source, target, *masks, call=call)
        causal = torch.nn.Transformer.generate_square_subsequent_mask(4)
        call = lambda module, x, y, mask: module(x, y, tgt_mask=mask, tgt_is_causal=True)
        module = transformer(6, 3, 2, 1, 7, norm_first=True, batch_first=True, activation="gelu", bias=False)
        inputs = [value.transpose(0, 1).contiguous() for value in (source, target)]
        layer.case("norm_first", module, *inputs, causal, call=call, wrt=[0, 1])
        layer.case("unbatched", transformer(6, 2, 1, 2, 8, layer_norm_eps=1e-3), source[:, 0].contiguous(), target[:, 0].contiguous())
        layer.case("dropout_in_evaluation", transformer(6, 2, 1, 1, 8, dropout=0.2), source, target, training=False)


def generate():
    # The fast path of evaluation zeros padded positions, and rounds elsewhere.
    torch.backends.mha.set_fastpath_enabled(False)
    scaled_dot_product_attention()
    multihead_attention()
    encoders()
    decoders()
    transformers()


if __name__ == "__main__":
    generate()
