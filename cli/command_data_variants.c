/* SPDX-License-Identifier: MIT */
/* lilac data variants: a picture of the digits and their variants. */
#include "files.h"

#include "data/contact_sheet.h"
#include "format/png.h"
#include "runtime/context.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct variants_settings {
    const char *png;
    int zoom;
} variants_settings;

static const lilac_option options[] = {
    {.name = "png",
     .letter = 'o',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(variants_settings, png),
     .value = "FILE",
     .help = "where to save the picture",
     .required = true},
    {.name = "zoom",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(variants_settings, zoom),
     .value = "N",
     .help = "draw each pixel of an image N pixels wide",
     .initial = "3",
     .minimum = 1,
     .maximum = 32},
};

static lilac_status draw(lilac_session *session, const variants_settings *settings, const lilac_dataset *images) {
    uint32_t chosen[256];
    const lilac_contact_sheet sheet = {.dataset = images,
                                       .images = chosen,
                                       .count = lilac_first_of_each_class(images, chosen),
                                       .zoom = (size_t)settings->zoom};
    size_t width, height;
    LILAC_TRY(lilac_contact_sheet_size(session->context, &sheet, &width, &height));
    uint8_t *picture = malloc(width * height);
    if (picture == NULL) {
        return lilac_fail_memory(session->context, "the picture", width * height);
    }
    lilac_contact_sheet_draw(&sheet, picture);
    const lilac_status status = lilac_png_write(session->context, settings->png, width, height, picture);
    free(picture);
    LILAC_TRY(status);
    printf("Saved %s: %zu x %zu pixels; from left to right original, quantized, rotated, inverted\n", settings->png,
           width, height);
    return LILAC_OK;
}

static lilac_status run(lilac_session *session, const void *values) {
    const variants_settings *settings = values;
    LILAC_TRY(lilac_session_check_output(session, settings->png));
    lilac_dataset *images;
    LILAC_TRY(lilac_session_load_mnist(session, LILAC_MNIST_TEST, &images));
    const lilac_status status = draw(session, settings, images);
    lilac_dataset_destroy(images);
    return status;
}

const lilac_command lilac_command_data_variants = {
    .name = "data variants",
    .summary = "draw a digit of each kind with its variants",
    .description = "Saves a picture with the first test image of each class, one a row, as it is and in its three "
                   "variants: pixels rounded to black or white, turned by 180 degrees, inverted.",
    .example = "lilac data variants --png variants.png\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(variants_settings),
    .takes = LILAC_TAKES_DATA,
    .run = run,
};
