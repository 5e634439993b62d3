/* SPDX-License-Identifier: MIT */
#include "nn/logistic_mixture.h"

#include "nn/cross_entropy.h"
#include "runtime/parallel.h"

#include <math.h>

enum { ROW_BLOCK = 64 };

/* One component of a row: the log of the bin's mass, and its derivatives by mean and raw scale. */
typedef struct {
    double log_mass, by_mean, by_raw_scale;
} component;

static double scale_of(double raw) {
    /* elu(raw) + 1.0001, without taking exp - 1 + 1. */
    return raw > 0.0 ? raw + 1.0001 : exp(raw) + 0.0001;
}

/* t = exp(-|a|) gives 1 + t, sigmoid(a) and sigmoid(-a) without overflow or cancellation. */
typedef struct {
    double one_plus_t, above, below; /* sigmoid(a), sigmoid(-a) */
} logistic;

static logistic logistic_at(double a) {
    const double t = exp(-fabs(a)), large = 1.0 / (1.0 + t), small = t * large;
    return a > 0.0 ? (logistic){1.0 + t, large, small} : (logistic){1.0 + t, small, large};
}

/*
 * With the bin's edges at b < a in units of the scale, and d = a - b,
 *   log(sigmoid(a) - sigmoid(b)) = log sigmoid(a) + log sigmoid(-b) + log(1 - exp(-d)),
 * where log sigmoid(a) = min(a, 0) - log(1 + exp(-|a|)). The logarithms are taken as one.
 */
static component evaluate(double mean, double raw, uint8_t target) {
    const double half_width = 1.0 / 255.0, x = target / 127.5 - 1.0;
    const double inverse = 1.0 / scale_of(raw);
    const double a = (x + half_width - mean) * inverse, b = (x - half_width - mean) * inverse;
    double log_mass, by_position, by_scale; /* of which by_mean = -by_position, both over the scale */
    if (target == 0) {
        const logistic at = logistic_at(a);
        log_mass = fmin(a, 0.0) - log(at.one_plus_t);
        by_position = at.below;
        by_scale = -a * at.below;
    } else if (target == 255) {
        const logistic at = logistic_at(b);
        log_mass = fmin(-b, 0.0) - log(at.one_plus_t);
        by_position = -at.above;
        by_scale = b * at.above;
    } else {
        const logistic upper = logistic_at(a), lower = logistic_at(b);
        const double d = 2.0 * half_width * inverse, rest = -expm1(-d);
        log_mass = fmin(a, 0.0) + fmin(-b, 0.0) + log(rest / (upper.one_plus_t * lower.one_plus_t));
        by_position = upper.below - lower.above;
        by_scale = b * lower.above - a * upper.below - d * (1.0 - rest) / rest;
    }
    const double scale_by_raw = raw > 0.0 ? 1.0 : exp(raw);
    return (component){log_mass, -by_position * inverse, by_scale * inverse * scale_by_raw};
}

/* Turns logits into probabilities; returns the log of the sum of their exponentials. */
static double softmax(size_t n, double *logits) {
    double max = logits[0], sum = 0.0;
    for (size_t k = 1; k < n; k++) {
        max = fmax(max, logits[k]);
    }
    for (size_t k = 0; k < n; k++) {
        logits[k] = exp(logits[k] - max);
        sum += logits[k];
    }
    for (size_t k = 0; k < n; k++) {
        logits[k] /= sum;
    }
    return max + log(sum);
}

static float row_loss(size_t K, const float *parameters, uint8_t target, double scale, float *gradient) {
    component components[LILAC_LOGISTIC_MIXTURE_MAX];
    double prior[LILAC_LOGISTIC_MIXTURE_MAX], posterior[LILAC_LOGISTIC_MIXTURE_MAX];
    for (size_t k = 0; k < K; k++) {
        components[k] = evaluate((double)parameters[K + k], (double)parameters[2 * K + k], target);
        prior[k] = (double)parameters[k];
        posterior[k] = prior[k] + components[k].log_mass;
    }
    const double loss = softmax(K, prior) - softmax(K, posterior);
    for (size_t k = 0; gradient != NULL && k < K; k++) {
        gradient[k] = (float)(scale * (prior[k] - posterior[k]));
        gradient[K + k] = (float)(-scale * posterior[k] * components[k].by_mean);
        gradient[2 * K + k] = (float)(-scale * posterior[k] * components[k].by_raw_scale);
    }
    return (float)loss;
}

typedef struct {
    size_t K;
    const float *parameters;
    const uint8_t *targets;
    double scale;
    float *losses, *gradient;
} loss_loop;

static void loss_rows(void *argument, size_t begin, size_t end) {
    const loss_loop *loop = argument;
    for (size_t i = begin; i < end; i++) {
        const size_t offset = i * 3 * loop->K;
        loop->losses[i] = row_loss(loop->K, loop->parameters + offset, loop->targets[i], loop->scale,
                                   loop->gradient == NULL ? NULL : loop->gradient + offset);
    }
}

void lilac_logistic_mixture_loss(lilac_context *context, size_t T, size_t K, const float *parameters,
                                 const uint8_t *targets, float scale, float *losses, float *gradient) {
    loss_loop loop = {.K = K,
                      .parameters = parameters,
                      .targets = targets,
                      .scale = (double)scale,
                      .losses = losses,
                      .gradient = gradient};
    lilac_parallel_for(context, T, ROW_BLOCK, loss_rows, &loop);
}

void lilac_logistic_mixture_sample(size_t rows, size_t K, const float *parameters, float temperature,
                                   const lilac_random *randoms, uint8_t *out) {
    for (size_t i = 0; i < rows; i++) {
        const float *row = parameters + i * 3 * K;
        uint32_t words[4];
        lilac_random_block(&randoms[i], 0, words);
        const size_t k = lilac_categorical_choose(K, row, 1.0, lilac_random_open_uniform(words[0]));
        const double u = lilac_random_open_uniform(words[1]);
        const double scale = (double)temperature * scale_of((double)row[2 * K + k]);
        const double x = (double)row[K + k] + scale * (log(u) - log1p(-u));
        out[i] = (uint8_t)rint(fmin(fmax((x + 1.0) * 127.5, 0.0), 255.0));
    }
}
