/* SPDX-License-Identifier: MIT */
/*
 * Feature maps phi: what linear attention puts queries and keys through, so that phi(q) . phi(k) is a similarity. A map
 * turns a vector of D numbers into one of C numbers. The maps here are ordinary values of an open interface: to use
 * another one, fill in a lilac_feature_map.
 */
#ifndef LILAC_FEATURE_MAP_H
#define LILAC_FEATURE_MAP_H

#include <lilac/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lilac_feature_map lilac_feature_map;

/*
 * y[i] = phi(x[i]) for `rows` rows: x is rows x D with row stride ldx, y is rows x C with row stride ldy. They do not
 * overlap. Called from several threads at once.
 */
typedef void lilac_feature_map_forward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx,
                                       float *y, size_t ldy);

/*
 * dx[i] = (d phi / dx)^T dy[i], where y[i] = phi(x[i]) was computed before. dx is rows x D. No two buffers overlap.
 * Called from several threads at once.
 */
typedef void lilac_feature_map_backward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx,
                                        const float *y, size_t ldy, const float *dy, size_t lddy, float *dx,
                                        size_t lddx);

/*
 * A feature map. For linear attention to be a weighted mean the features should not be negative; nothing enforces that,
 * and a denominator that comes out as 0 or less is used as it is.
 */
struct lilac_feature_map {
    size_t input_size;  /* the D it takes; 0: any */
    size_t output_size; /* C; 0: C = D */
    lilac_feature_map_forward *forward;
    lilac_feature_map_backward *backward; /* may be NULL if no gradients are asked for */
    const void *parameters;               /* for the two functions; owned by whoever made the map */
};

/*
 * The maps without parameters, each applied element by element, C = D. They live as long as the program. Thread safe.
 * elu_plus_one: x + 1 above 0, exp(x) below (Katharopoulos et al., "Transformers are RNNs", 2020). The default, and the
 * only one that is fused into the attention kernels. relu: max(0, x). squared_relu: max(0, x)^2. exp: exp(x), infinite
 * above 88.7. identity: x; for features that were computed before.
 */
LILAC_API const lilac_feature_map *lilac_feature_map_elu_plus_one(void);
LILAC_API const lilac_feature_map *lilac_feature_map_relu(void);
LILAC_API const lilac_feature_map *lilac_feature_map_squared_relu(void);
LILAC_API const lilac_feature_map *lilac_feature_map_exp(void);
LILAC_API const lilac_feature_map *lilac_feature_map_identity(void);

/* Maps whose inner product approaches a kernel of x and y as C grows. w_c are random vectors; s is the scale. */
typedef enum lilac_random_features {
    /*
     * sqrt(2/C) [cos(w_c . s x), sin(w_c . s x)], w_c normal: the Gaussian kernel exp(-s^2 |x - y|^2 / 2) (Rahimi and
     * Recht, "Random Features for Large-Scale Kernel Machines", 2007). C is even; the cosines come first. May be
     * negative.
     */
    LILAC_RANDOM_FEATURES_FOURIER = 0,
    /*
     * exp(w_c . s x - s^2 |x|^2 / 2) / sqrt(C), the w_c of each D neighbours orthogonal: the kernel exp(s^2 x . y),
     * which for s = D^(-1/4) is that of softmax attention (FAVOR+; Choromanski et al., "Rethinking Attention with
     * Performers", 2021).
     */
    LILAC_RANDOM_FEATURES_POSITIVE = 1
} lilac_random_features;

/*
 * Creates such a map from D to C numbers; free it with lilac_feature_map_destroy. The same seed gives the same map.
 * scale must be finite and above 0. Errors: ARGUMENT (also C odd for FOURIER), SHAPE (D or C is 0), OVERFLOW, MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_feature_map_create_random(lilac_context *context,
                                                                      lilac_random_features features, size_t D,
                                                                      size_t C, float scale, uint64_t seed,
                                                                      lilac_feature_map **out);

/* Frees a map made by lilac_feature_map_create_random; NULL is allowed. */
LILAC_API void lilac_feature_map_destroy(lilac_feature_map *map);

/* The C of a map for inputs of size D, or 0 if it does not take them. Thread safe. */
LILAC_API size_t lilac_feature_map_output_size(const lilac_feature_map *map, size_t D);

#ifdef __cplusplus
}
#endif
#endif
