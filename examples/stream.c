/* SPDX-License-Identifier: MIT */
/*
 * Streams a sequence token by token through the recurrent form of linear attention and compares each output with that
 * of the parallel form, which takes in the whole sequence at once.
 */
#include <lilac/lilac.h>

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 1000, HEADS = 4, SIZE = 32, WIDTH = HEADS * SIZE, QUERY = 0, KEY = 1, VALUE = 2 };

/* For each token query, key and value side by side, as one matrix product makes them: they are read in place. */
static float projection[TOKENS][3][WIDTH];
static float whole[TOKENS][WIDTH], streamed[WIDTH];

static void check(const lilac_context *context, lilac_status status) {
    if (status != LILAC_OK) {
        fprintf(stderr, "stream: %s\n", lilac_context_message(context));
        exit(1);
    }
}

/* The queries, keys or values from a token on. */
static lilac_attention_input part(size_t token, size_t which) {
    return (lilac_attention_input){projection[token][which], LILAC_ATTENTION_F32, TOKENS * 3 * WIDTH, 3 * WIDTH, SIZE};
}

int main(void) {
    for (size_t i = 0; i < TOKENS * 3 * WIDTH; i++) {
        projection[i / (3 * WIDTH)][i / WIDTH % 3][i % WIDTH] = 2.0f * sinf((float)(i * i % 9973));
    }
    lilac_context *context = NULL;
    check(context, lilac_context_create(NULL, &context));
    const lilac_attention_shape shape = {1, HEADS, TOKENS, TOKENS, SIZE, SIZE};
    lilac_linear_attention_config config;
    lilac_linear_attention_config_default(&shape, &config);
    config.causal = true;

    size_t bytes, floats;
    check(context, lilac_linear_attention_forward_workspace_size(context, &config, &bytes));
    check(context, lilac_linear_attention_state_size(context, &config, &floats));
    void *workspace = malloc(bytes);
    const lilac_linear_attention_forward_tensors tensors = {.query = part(0, QUERY),
                                                            .key = part(0, KEY),
                                                            .value = part(0, VALUE),
                                                            .output = {whole[0], TOKENS * WIDTH, WIDTH, SIZE}};
    check(context, lilac_linear_attention_forward(context, &config, &tensors, workspace, bytes));

    lilac_linear_attention_state *state;
    check(context, lilac_linear_attention_state_create(context, &config, &state));
    const lilac_attention_output output = {streamed, WIDTH, WIDTH, SIZE};
    float largest = 0.0f;
    bool close = true;
    for (size_t t = 0; t < TOKENS; t++) {
        const lilac_attention_input query = part(t, QUERY), key = part(t, KEY), value = part(t, VALUE);
        check(context, lilac_linear_attention_step(context, state, &query, &key, &value, &output));
        for (size_t i = 0; i < WIDTH; i++) {
            const float difference = fabsf(streamed[i] - whole[t][i]);
            largest = fmaxf(largest, difference);
            close = close && difference < 1e-5f; /* false for a NaN, too */
        }
    }
    printf("%d tokens; largest difference %.1e; state %zu bytes\n", TOKENS, largest, floats * sizeof(float));
    lilac_linear_attention_state_destroy(state);
    lilac_context_destroy(context);
    free(workspace);
    return close ? EXIT_SUCCESS : EXIT_FAILURE;
}
