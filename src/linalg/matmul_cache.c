/* SPDX-License-Identifier: MIT */
#include "linalg/matmul_cache.h"

#include "core/memory.h"

typedef struct {
    lilac_matmul_shape shape;
    bool bf16;
    lilac_matmul_plan *plan; /* NULL: this and all further entries are empty */
    uint64_t used;           /* when last, in lookups */
} cached_plan;

typedef struct {
    cached_plan plans[LILAC_MATMUL_CACHED_PLANS];
    uint64_t lookups;
    void *scratch;
    size_t scratch_size;
} matmul_cache;

static void destroy_cache(void *memory) {
    matmul_cache *cache = memory;
    for (size_t i = 0; i < LILAC_MATMUL_CACHED_PLANS; i++) {
        lilac_matmul_plan_destroy(cache->plans[i].plan);
    }
    lilac_memory_free(cache->scratch);
    lilac_memory_free(cache);
}

static matmul_cache *cache_of(lilac_context *context) {
    if (context->matmul_cache == NULL) {
        context->matmul_cache = lilac_memory_allocate(1, sizeof(matmul_cache));
        context->destroy_matmul_cache = destroy_cache;
    }
    return context->matmul_cache;
}

static bool same_shape(const lilac_matmul_shape *a, const lilac_matmul_shape *b) {
    return a->m == b->m && a->n == b->n && a->k == b->k && a->transpose_a == b->transpose_a &&
           a->transpose_b == b->transpose_b && a->lda == b->lda && a->ldb == b->ldb && a->ldc == b->ldc &&
           a->alpha == b->alpha && a->beta == b->beta;
}

/* The entry of that shape or, if there is none, the one to be replaced: an empty one before the longest unused. */
static cached_plan *find_entry(matmul_cache *cache, const lilac_matmul_shape *shape, bool bf16) {
    cached_plan *oldest = &cache->plans[0];
    for (size_t i = 0; i < LILAC_MATMUL_CACHED_PLANS; i++) {
        cached_plan *entry = &cache->plans[i];
        if (entry->plan == NULL || (same_shape(&entry->shape, shape) && entry->bf16 == bf16)) {
            return entry;
        }
        if (entry->used < oldest->used) {
            oldest = entry;
        }
    }
    return oldest;
}

lilac_status lilac_matmul_cached_plan(lilac_context *context, const lilac_matmul_shape *shape, bool bf16,
                                      const lilac_matmul_plan **out) {
    matmul_cache *cache = cache_of(context);
    if (cache == NULL) {
        return LILAC_ERROR_MEMORY;
    }
    cached_plan *entry = find_entry(cache, shape, bf16);
    if (entry->plan == NULL || !same_shape(&entry->shape, shape) || entry->bf16 != bf16) {
        lilac_matmul_plan *plan;
        LILAC_TRY(lilac_matmul_plan_create(shape, bf16, &plan));
        lilac_matmul_plan_destroy(entry->plan);
        *entry = (cached_plan){.shape = *shape, .bf16 = bf16, .plan = plan};
    }
    entry->used = ++cache->lookups;
    *out = entry->plan;
    return LILAC_OK;
}

void *lilac_matmul_cached_scratch(lilac_context *context, size_t bytes) {
    matmul_cache *cache = cache_of(context);
    if (cache == NULL) {
        return NULL;
    }
    if (cache->scratch_size < bytes || cache->scratch == NULL) {
        void *scratch = lilac_memory_allocate(lilac_size_max(bytes, 1), 1);
        if (scratch == NULL) {
            return NULL;
        }
        lilac_memory_free(cache->scratch);
        cache->scratch = scratch;
        cache->scratch_size = bytes;
    }
    return cache->scratch;
}
