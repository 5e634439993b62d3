/* SPDX-License-Identifier: MIT */
/*
 * Training a transformer on the bytes of images or of a text, in one run or in slices: a training that was stopped, at
 * whatever moment, goes on from its last checkpoint and ends with the same weights, byte for byte, as one that was not.
 */
#ifndef LILAC_TRAIN_TRANSFORMER_H
#define LILAC_TRAIN_TRANSFORMER_H

#include <lilac/dataset.h>
#include <lilac/transformer.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Where sequences of tokens come from; what it points to must outlive its use. Every sequence gives N predictions: its
 * first token is only read, its last only predicted.
 *
 * Images: each is a sequence, its pixels row after row as the view's variant shows them (the bytes 0 .. 255; ORIGINAL
 * and PLAIN are the image itself), N = pixels - 1. Bytes: training takes windows of N + 1 bytes, N being the model's
 * length, that begin anywhere; evaluation goes through all bytes in windows of that size, so that each byte but the
 * first is predicted once. An epoch is as many windows as that.
 */
typedef struct lilac_token_source {
    const lilac_data_view *images; /* NULL: bytes */
    const uint8_t *bytes;
    size_t byte_count; /* 2 .. 2^32-1; to train: more than the model's length */
} lilac_token_source;

/*
 * AdamW; RAdam with AdamW's decoupled weight decay; Muon, which updates the linear layers' matrices along the
 * orthogonal factor of their mean gradient, scaled so that AdamW's learning rates fit, and leaves the embedding, the
 * output layer, biases and norms to AdamW. Muon trains models, not adapters. Loshchilov and Hutter, "Decoupled Weight
 * Decay Regularization", 2019; Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", 2020; Jordan et
 * al., "Muon: An optimizer for hidden layers in neural networks", 2024.
 */
typedef enum lilac_training_optimiser {
    LILAC_TRAINING_ADAMW = 0,
    LILAC_TRAINING_RADAM = 1,
    LILAC_TRAINING_MUON = 2
} lilac_training_optimiser;

/* Where the seconds of steps went. */
typedef struct lilac_training_times {
    double steps; /* all that follows and, little, gathering the sequences */
    double forward, loss, backward;
    double optimiser; /* the norm of the gradient, the update and, with BF16, rounding the weights */
} lilac_training_times;

/* What training has come to. Losses are in nats a predicted token; bits a dimension are nats / log 2. */
typedef struct lilac_transformer_metrics {
    uint64_t step;     /* updates of the weights so far */
    uint64_t tokens;   /* predicted in these steps */
    double seconds;    /* spent in these steps, all slices together */
    double loss;       /* mean since the last report, with dropout, as the weights were at each step; NaN: no step */
    double validation; /* loss on the validation set, whole images; NaN where it was not evaluated at this step */
    double learning_rate, gradient_norm; /* of the last step, the norm before clipping; NaN: no step yet */
    /* Since the last report, in the time that steps took: evaluation and checkpoints do not count. */
    double tokens_per_second, operations_per_second;
    lilac_training_times times;
    lilac_precision precision; /* that is used */
} lilac_transformer_metrics;

/*
 * Takes in a report; on anything but LILAC_OK training stops as it does on request, and returns that status. A failure
 * should be explained on the context, which cannot be used for other calls meanwhile.
 */
typedef lilac_status lilac_transformer_report(void *user, const lilac_transformer_metrics *metrics);

typedef struct lilac_transformer_training {
    lilac_training_optimiser optimiser;
    /* The rate of step s = 1, 2, ... rises in proportion to s up to learning_rate at s = warm_up; then it falls along
     * half a cosine towards final_fraction * learning_rate. */
    double learning_rate;
    double final_fraction; /* 0 .. 1 */
    /* The output layer's rate as a share of that. Its inputs are many and all of size 1, so that a rate that suits the
     * layers before it moves a mixture's means by more than their scales at each step. Not looked at for adapters. */
    double output_rate;
    uint64_t warm_up;   /* steps, may be 0 */
    uint64_t steps;     /* in all, at least 1 */
    size_t batch;       /* sequences a step */
    size_t micro_batch; /* sequences a pass; the gradients of a step's passes are summed. Few fit the caches */
    double clip_norm;   /* a gradient of a larger norm is scaled down to it; 0: never */
    /*
     * The gradient of a token's loss by each of its outputs is cut to -clip_outputs .. clip_outputs; 0: never. Those of
     * logits never exceed 1. That of a logistic's mean does, by far where the logistic is narrow, and without a limit a
     * few tokens drown what all others have to teach.
     */
    double clip_outputs;
    /*
     * Rows and columns at each edge of images whose pixels models do not see; 0: none. The others stand where they
     * stand in the whole image and, as ever, each predicts the pixel to its right. Where edges are all but always
     * empty, as MNIST's are, steps cost in proportion less and teach as much; what it means to see an edge takes a
     * short training without a border to learn. Only images have one.
     */
    size_t border;
    double weight_decay; /* decoupled: multiplied by the learning rate */
    double beta1, beta2; /* 0 <= beta < 1 */
    double epsilon;      /* above 0 */
    /* BF16: matrix products take operands rounded to bf16. Where cpu or library cannot do that, F32 is used. */
    lilac_precision precision;
    uint64_t seed; /* of the order of the sequences and of dropout */

    uint64_t validation_interval;     /* steps; 0: after the last step alone */
    uint64_t report_interval;         /* steps; 0: only with validation and at the end */
    lilac_transformer_report *report; /* may be NULL */
    void *report_user;

    const char *checkpoint;       /* a file; NULL: none */
    uint64_t checkpoint_interval; /* steps; 0: only at the end of the slice */
    bool resume;                  /* go on from the checkpoint where the file exists; else begin, and replace it */
    double seconds;               /* stop, with a checkpoint, after the step that ends after these; 0: never */
} lilac_transformer_training;

typedef struct lilac_transformer_outcome {
    lilac_transformer_metrics metrics; /* the last that were reported, or would have been */
    bool finished;                     /* all steps are made */
} lilac_transformer_outcome;

/* AdamW, rate 6e-4 falling to a tenth, the output layer's the same, warm-up 200, 1000 steps of 16 sequences, 2 a pass,
 * clipping at 1, outputs' at 2, no border, weight decay 0.01, betas 0.9 and 0.95, epsilon 1e-8, F32, seed 0, reports
 * every 10 steps; no checkpoint, no limit of time. */
LILAC_API void lilac_transformer_training_default(lilac_transformer_training *config);

/*
 * Trains all weights of the model on the mean cross-entropy of its predictions or, where adapter is not NULL, only the
 * adapter (the model is then read only). Dropout is the model's. validation and outcome may be NULL.
 *
 * With config->resume the weights, the optimiser and the position are those of the checkpoint; what else the result
 * depends on (config, model, adapter, training data) must be what it was when the training began. The result is then
 * the same bytes at any number of threads and wherever it was stopped, on one kind of processor with one matrix
 * library. A checkpoint of BF16 in tiles (AMX) goes on with tiles alone. A checkpoint is replaced whole or not at all.
 *
 * Memory: three times the trained weights and the activations of a pass, as lilac_transformer_training_memory tells.
 * Reports progress in steps, and asks between passes whether to stop.
 *
 * Errors: ARGUMENT (also: a merged adapter; a checkpoint of a training with other settings, which the message names),
 * SHAPE (sequences too long for the model), BASE_MISMATCH, OVERFLOW; those of reading a file; UNSUPPORTED (another kind
 * of file): all is untouched then. NOT_FINITE (the gradient or a weight diverged), CANCELLED, MEMORY, IO and its kin (a
 * checkpoint could not be written): the trained weights are those after the last whole step, and the checkpoint is the
 * last that was written; a cancelled training writes one first.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_train_transformer(
    lilac_context *context, const lilac_transformer_training *config, lilac_transformer *model, lilac_adapter *adapter,
    const lilac_token_source *training, const lilac_token_source *validation, lilac_transformer_outcome *outcome);

/* Bytes that a training allocates, beside the model and the adapter. */
typedef struct lilac_training_memory {
    /* Of a pass, with their gradients; of BF16 also the rounded weights; with a border also those of the pass that
     * evaluates whole images. */
    size_t activations;
    size_t gradient;           /* of the trained weights */
    size_t optimiser;          /* two moments a trained weight; of Muon also what it iterates on */
    lilac_precision precision; /* that is used */
} lilac_training_memory;

/*
 * What lilac_train_transformer would allocate for these arguments and a validation set, without training. Not counted
 * are the order of the sequences, 4 bytes an image, and what the matrix library keeps for itself. Whether the adapter
 * is one of this model is not checked. Errors: ARGUMENT, SHAPE, OVERFLOW, MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_training_memory(
    lilac_context *context, const lilac_transformer_training *config, const lilac_transformer *model,
    const lilac_adapter *adapter, const lilac_token_source *training, lilac_training_memory *out);

typedef struct lilac_token_evaluation {
    double loss;               /* mean nats a predicted token */
    double bits;               /* the same in bits: "bits a dimension" of images */
    uint64_t tokens;           /* predicted */
    lilac_precision precision; /* that was used */
} lilac_token_evaluation;

/*
 * Evaluates the model, with the adapter if it is not NULL, without dropout. BF16 falls back to F32 as in training.
 * Reports progress in sequences. Errors: ARGUMENT, SHAPE, BASE_MISMATCH, OVERFLOW, MEMORY, NOT_FINITE (the loss: a
 * weight is not a finite number, or too large), CANCELLED.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_evaluate_transformer(lilac_context *context, const lilac_transformer *model,
                                                                 const lilac_adapter *adapter,
                                                                 const lilac_token_source *source,
                                                                 lilac_precision precision,
                                                                 lilac_token_evaluation *out);

#ifdef __cplusplus
}
#endif
#endif
