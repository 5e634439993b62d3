/* SPDX-License-Identifier: MIT */
#include "linear_attention_exact.h"

#include "kernel_test.h"

#include <float.h>
#include <math.h>

/*
 * Floats: exp is within 1.4 ulp, an ulp being up to two roundoffs; the exponential functions flush below e^-87 at the
 * latest. bf16 has 8 significant bits, and its dot products take denormals for 0.
 */
const arithmetic float_arithmetic = {3.0 * KERNEL_ROUNDOFF, 1.7e-38, 0.0, (double)FLT_TRUE_MIN};
const arithmetic bf16_arithmetic = {1.6e-4, 1.7e-38, 0x1p-8, (double)FLT_MIN};

static const measured one = {1.0, 0.0};

/* x as an operand of a product. */
static measured factor(const arithmetic *how, measured x) {
    if (how->factor > 0.0) {
        x.error += how->factor * (fabs(x.value) + x.error) + how->tiny;
    }
    return x;
}

measured exact_feature(const arithmetic *how, double x, bool mapped) {
    measured y = {x, 0.0};
    if (mapped) {
        y.value = x > 0.0 ? x + 1.0 : exp(x);
        y.error = y.value < how->flushed ? how->flushed : how->feature * y.value;
    }
    return factor(how, y);
}

/* A sum of products, made by a kernel in any order, with or without fused multiply-adds. */
typedef struct sum {
    const arithmetic *how;
    double value, size, error; /* size: that of the terms; error: that of the factors */
    double count;
} sum;

static void add(sum *s, measured a, measured b) {
    const double product = a.value * b.value;
    s->value += product;
    s->size += fabs(product);
    s->error += fabs(a.value) * b.error + fabs(b.value) * a.error + a.error * b.error;
    s->count += 1.0;
}

/* Each product is rounded once, and so is each sum: no term goes through more of these than there are terms. */
static measured total(const sum *s) {
    const double roundings = (s->count + 2.0) * KERNEL_ROUNDOFF * (s->size + s->error);
    return (measured){s->value, s->error + roundings + s->count * s->how->tiny};
}

/* a / b, or a times the rounded 1 / b. */
static measured quotient(measured a, measured b) {
    const double value = a.value / b.value, smallest = fabs(b.value) - b.error;
    const double error = (a.error + fabs(value) * b.error) / smallest;
    return (measured){value, error + 3.0 * KERNEL_ROUNDOFF * (fabs(value) + error) + (double)FLT_TRUE_MIN};
}

static size_t seen(const exact_chunk *c, size_t query) {
    const size_t keys = query + 1 < c->keys ? query + 1 : c->keys;
    return c->causal ? keys : 0;
}

void exact_next_state(exact_chunk *c) {
    for (size_t f = 0; f < c->features; f++) {
        sum z = {.how = c->arithmetic};
        add(&z, c->z[f], one);
        for (size_t j = 0; j < c->keys; j++) {
            add(&z, c->k[j * EXACT_SIZE + f], one);
        }
        c->next_z[f] = total(&z);
        for (size_t m = 0; m < c->values; m++) {
            sum s = {.how = c->arithmetic};
            add(&s, c->s[f * EXACT_SIZE + m], one);
            for (size_t j = 0; j < c->keys; j++) {
                add(&s, c->k[j * EXACT_SIZE + f], c->v[j * EXACT_SIZE + m]);
            }
            c->next_s[f * EXACT_SIZE + m] = total(&s);
        }
    }
}

/* Row i of A. */
static void make_scores(exact_chunk *c, size_t i) {
    for (size_t j = 0; j < seen(c, i); j++) {
        sum a = {.how = c->arithmetic};
        for (size_t f = 0; f < c->features; f++) {
            add(&a, c->q[i * EXACT_SIZE + f], c->k[j * EXACT_SIZE + f]);
        }
        c->a[i * EXACT_ROWS + j] = factor(c->arithmetic, total(&a));
    }
}

void exact_forward(exact_chunk *c) {
    for (size_t i = 0; i < c->queries; i++) {
        const measured *q = c->q + i * EXACT_SIZE, *a = c->a + i * EXACT_ROWS;
        make_scores(c, i);
        sum d = {.how = c->arithmetic};
        add(&d, (measured){c->epsilon, 0.0}, one);
        for (size_t f = 0; f < c->features; f++) {
            add(&d, q[f], factor(c->arithmetic, c->z[f]));
        }
        for (size_t j = 0; j < seen(c, i); j++) {
            add(&d, a[j], one);
        }
        c->denominator[i] = total(&d);
        for (size_t m = 0; m < c->values; m++) {
            sum out = {.how = c->arithmetic};
            for (size_t f = 0; f < c->features; f++) {
                add(&out, q[f], factor(c->arithmetic, c->s[f * EXACT_SIZE + m]));
            }
            for (size_t j = 0; j < seen(c, i); j++) {
                add(&out, a[j], c->v[j * EXACT_SIZE + m]);
            }
            c->out[i * EXACT_SIZE + m] = quotient(total(&out), c->denominator[i]);
        }
    }
}

void exact_state_gradient(exact_chunk *c) {
    for (size_t i = 0; i < c->queries; i++) {
        sum products = {.how = c->arithmetic};
        for (size_t m = 0; m < c->values; m++) {
            const measured g = c->g[i * EXACT_SIZE + m];
            add(&products, g, c->o[i * EXACT_SIZE + m]);
            c->numerator[i * EXACT_SIZE + m] = quotient(g, c->d[i]);
        }
        c->delta[i] = quotient(total(&products), c->d[i]);
        c->delta[i].value = -c->delta[i].value;
    }
    for (size_t f = 0; f < c->features; f++) {
        sum z = {.how = c->arithmetic};
        add(&z, c->dz[f], one);
        for (size_t i = 0; i < c->queries; i++) {
            add(&z, c->q[i * EXACT_SIZE + f], c->delta[i]);
        }
        c->next_z[f] = total(&z);
        for (size_t m = 0; m < c->values; m++) {
            sum s = {.how = c->arithmetic};
            add(&s, c->ds[f * EXACT_SIZE + m], one);
            for (size_t i = 0; i < c->queries; i++) {
                add(&s, c->q[i * EXACT_SIZE + f], c->numerator[i * EXACT_SIZE + m]);
            }
            c->next_s[f * EXACT_SIZE + m] = total(&s);
        }
    }
}

/* A gradient with respect to the feature y as one with respect to x. The slope of elu is 1 above 0, else exp(x) = y. */
static measured unmapped(const exact_chunk *c, const sum *gradient, measured y) {
    if (!c->elu_plus_one) {
        return total(gradient);
    }
    const measured slope = y.value - y.error > 1.0 ? one : (measured){fmin(y.value, 1.0), y.error};
    sum product = {.how = c->arithmetic};
    add(&product, total(gradient), slope);
    return total(&product);
}

static void make_score_gradients(exact_chunk *c, size_t i) {
    for (size_t j = 0; j < seen(c, i); j++) {
        sum da = {.how = c->arithmetic};
        add(&da, c->delta[i], one);
        for (size_t m = 0; m < c->values; m++) {
            add(&da, c->numerator[i * EXACT_SIZE + m], c->v[j * EXACT_SIZE + m]);
        }
        c->da[i * EXACT_ROWS + j] = total(&da);
    }
}

static void make_query_gradients(exact_chunk *c, size_t i) {
    for (size_t f = 0; f < c->features; f++) {
        sum dq = {.how = c->arithmetic};
        add(&dq, c->delta[i], c->z[f]);
        for (size_t m = 0; m < c->values; m++) {
            add(&dq, c->numerator[i * EXACT_SIZE + m], c->s[f * EXACT_SIZE + m]);
        }
        for (size_t j = 0; j < seen(c, i); j++) {
            add(&dq, c->da[i * EXACT_ROWS + j], c->k[j * EXACT_SIZE + f]);
        }
        c->dq[i * EXACT_SIZE + f] = unmapped(c, &dq, c->q[i * EXACT_SIZE + f]);
    }
}

static void make_key_gradients(exact_chunk *c, size_t j) {
    for (size_t f = 0; f < c->features; f++) {
        sum dk = {.how = c->arithmetic};
        add(&dk, c->dz[f], one);
        for (size_t m = 0; m < c->values; m++) {
            add(&dk, c->v[j * EXACT_SIZE + m], c->ds[f * EXACT_SIZE + m]);
        }
        for (size_t i = j; c->causal && i < c->queries; i++) {
            add(&dk, c->da[i * EXACT_ROWS + j], c->q[i * EXACT_SIZE + f]);
        }
        c->dk[j * EXACT_SIZE + f] = unmapped(c, &dk, c->k[j * EXACT_SIZE + f]);
    }
    for (size_t m = 0; m < c->values; m++) {
        sum dv = {.how = c->arithmetic};
        for (size_t f = 0; f < c->features; f++) {
            add(&dv, c->k[j * EXACT_SIZE + f], c->ds[f * EXACT_SIZE + m]);
        }
        for (size_t i = j; c->causal && i < c->queries; i++) {
            add(&dv, c->a[i * EXACT_ROWS + j], c->numerator[i * EXACT_SIZE + m]);
        }
        c->dv[j * EXACT_SIZE + m] = total(&dv);
    }
}

void exact_gradients(exact_chunk *c) {
    for (size_t i = 0; i < c->queries; i++) {
        make_scores(c, i);
        make_score_gradients(c, i);
        make_query_gradients(c, i);
    }
    for (size_t j = 0; j < c->keys; j++) {
        make_key_gradients(c, j);
    }
}
