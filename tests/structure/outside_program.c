/* SPDX-License-Identifier: MIT */
/*
 * A program as somebody else would write it, in what C17 and C++17 have in common: built against an installed Lilac by
 * test_install.sh. It computes an attention that is known by hand and runs a classifier.
 */
#include <lilac/lilac.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void check(const lilac_context *context, lilac_status status) {
    if (status != LILAC_OK) {
        fprintf(stderr, "%s: %s\n", lilac_status_string(status), context == NULL ? "" : lilac_context_message(context));
        exit(1);
    }
}

static void *allocate(size_t bytes) {
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (memory == NULL) {
        exit(1);
    }
    return memory;
}

static lilac_attention_input input(const float *data, size_t tokens) {
    lilac_attention_input result;
    result.data = data;
    result.dtype = LILAC_ATTENTION_F32;
    result.batch_stride = tokens;
    result.token_stride = result.head_stride = 1;
    return result;
}

/* The features of the query 0 are 1, those of the keys 0 and 1 are 1 and 2: a mean of the values 3 and 6 that is 5. */
static bool attend(lilac_context *context) {
    const lilac_attention_shape shape = {1, 1, 1, 2, 1, 1};
    const float query[] = {0.0f}, key[] = {0.0f, 1.0f}, value[] = {3.0f, 6.0f};
    float output[] = {0.0f};
    lilac_linear_attention_config config;
    lilac_linear_attention_config_default(&shape, &config);
    size_t bytes = 0;
    check(context, lilac_linear_attention_forward_workspace_size(context, &config, &bytes));
    void *workspace = allocate(bytes);
    const lilac_linear_attention_forward_tensors tensors = {
        input(query, 1), input(key, 2), input(value, 2), NULL, {output, 1, 1, 1}, NULL, NULL};
    check(context, lilac_linear_attention_forward(context, &config, &tensors, workspace, bytes));
    free(workspace);
    printf("attention: %.4f\n", (double)output[0]);
    return fabsf(output[0] - 5.0f) < 1e-4f;
}

/* A new adapter changes nothing. */
static bool classify(lilac_context *context) {
    lilac_mlp_config mlp_config;
    lilac_mlp_config_default(&mlp_config);
    lilac_mlp *mlp = NULL;
    check(context, lilac_mlp_create(context, &mlp_config, &mlp));
    lilac_lora_config lora_config;
    lilac_lora_config_default(&lora_config);
    const lilac_lora_base base = lilac_mlp_lora_base(mlp);
    lilac_adapter *adapter = NULL;
    check(context, lilac_adapter_create(context, &lora_config, &base, &adapter));

    float image[784], logits[10], adapted[10];
    for (size_t i = 0; i < 784; i++) {
        image[i] = (float)(i % 7);
    }
    float *workspace = (float *)allocate(lilac_mlp_workspace_size(mlp, adapter, 1) * sizeof(float));
    check(context, lilac_mlp_forward(context, mlp, NULL, 1, image, logits, workspace));
    check(context, lilac_mlp_forward(context, mlp, adapter, 1, image, adapted, workspace));
    bool right = logits[0] != logits[1];
    for (size_t i = 0; i < 10; i++) {
        right = right && isfinite(logits[i]) && fabsf(logits[i] - adapted[i]) < 1e-5f;
    }
    printf("logits: %.4f, %.4f, ...\n", (double)logits[0], (double)logits[1]);
    free(workspace);
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(mlp);
    return right;
}

int main(void) {
    lilac_context *context = NULL;
    check(NULL, lilac_context_create(NULL, &context));
    const bool right = attend(context) && classify(context);
    lilac_context_destroy(context);
    return right ? EXIT_SUCCESS : EXIT_FAILURE;
}
