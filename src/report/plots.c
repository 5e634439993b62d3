/* SPDX-License-Identifier: MIT */
#include "report/plots.h"

#include <math.h>
#include <string.h>

enum { CURVES_MAX = 8, POINTS_MAX = 32, KINDS = 2 };

/* Colours that can be told apart with any kind of sight, on white and on black. */
static const char *const colours[] = {"#2f7ed8", "#e0702a", "#1f9e7a", "#b05fc4"};

static const char *const kinds[KINDS] = {"linear", "softmax"};

typedef struct curve {
    char title[64];
    const char *colour;
    bool published; /* dashed, with hollow points */
    size_t count;
    double x[POINTS_MAX], y[POINTS_MAX];
} curve;

typedef struct curves {
    size_t count;
    curve item[CURVES_MAX];
} curves;

static curve *add_curve(curves *all, const char *title, const char *whose, size_t colour, bool published) {
    curve *c = &all->item[all->count++];
    *c = (curve){.colour = colours[colour], .published = published};
    snprintf(c->title, sizeof c->title, "%s%s", title, whose);
    return c;
}

static void add_point(curve *c, double x, double y) {
    if (isfinite(x) && isfinite(y) && c->count < POINTS_MAX) {
        c->x[c->count] = x;
        c->y[c->count++] = y;
    }
}

static void write_head(FILE *script, const lilac_plot *plot, const char *title) {
    fputs(plot->inlined ? "set terminal svg size 480,380 dynamic font 'sans-serif,13'\n"
                        : "set terminal svg size 700,600 background rgb 'white'\n",
          script);
    fprintf(script,
            "set title '%s'\n"
            "set grid linecolor rgb '#888888' linewidth 0.4 dashtype 3\n"
            "set border 3\n"
            "set tics nomirror\n",
            title);
}

/* The marks of the horizontal axis stand where the first curve has its points. */
static void write_marks(FILE *script, const curve *c) {
    fputs("set xtics (", script);
    for (size_t i = 0; i < c->count; i++) {
        fprintf(script, "%s'%g' %g", i == 0 ? "" : ", ", c->x[i], c->x[i]);
    }
    fputs(")\n", script);
}

/* The same on a logarithmic axis, which goes on a little beyond the first and the last point: gnuplot leaves out the
 * mark of a point that rounding has put beyond the end. */
static void write_logarithmic_marks(FILE *script, const curve *c) {
    write_marks(script, c);
    if (c->count > 0) {
        fprintf(script, "set logscale x\nset xrange [%g:%g]\n", c->x[0] / 1.15, c->x[c->count - 1] * 1.15);
    }
}

/* Logarithmic from a little below the least time to a little above the greatest, with marks at 1, 2 and 5; at all
 * digits where that range is short. */
static void write_times_axis(FILE *script, const curves *all) {
    double least = INFINITY, most = 0.0;
    for (size_t i = 0; i < all->count; i++) {
        for (size_t p = 0; p < all->item[i].count; p++) {
            least = fmin(least, all->item[i].y[p]);
            most = fmax(most, all->item[i].y[p]);
        }
    }
    least /= 1.3;
    most *= 1.3;
    fprintf(script, "set logscale y\nset yrange [%g:%g]\nset ytics (", least, most);
    const char *separator = "";
    const bool wide = most > 10.0 * least;
    for (double decade = pow(10.0, floor(log10(least))); decade <= most; decade *= 10.0) {
        for (int digit = 1; digit <= 9; digit = wide ? 2 * digit + (digit == 2) : digit + 1) {
            if (digit * decade >= least && digit * decade <= most) {
                fprintf(script, "%s'%g' %g", separator, digit * decade, digit * decade);
                separator = ", ";
            }
        }
    }
    fputs(")\n", script);
}

static void write_curves(FILE *script, const curves *all) {
    const char *separator = "plot ";
    for (size_t i = 0; i < all->count; i++) {
        fprintf(script, "$curve%zu << END\n", i);
        for (size_t p = 0; p < all->item[i].count; p++) {
            fprintf(script, "%g %.5g\n", all->item[i].x[p], all->item[i].y[p]);
        }
        fputs("END\n", script);
    }
    for (size_t i = 0; i < all->count; i++) {
        const curve *c = &all->item[i];
        if (c->count > 0) {
            fprintf(script,
                    "%s$curve%zu with linespoints linecolor rgb '%s' linewidth 2 dashtype %d pointtype %d "
                    "pointsize 0.6 title '%s'",
                    separator, i, c->colour, c->published ? 2 : 1, c->published ? 6 : 7, c->title);
            separator = ", ";
        }
    }
    fputc('\n', script);
}

void lilac_plot_encoder(FILE *script, const void *argument) {
    const lilac_plot *plot = argument;
    curves all = {.count = 0};
    for (size_t kind = 0; kind < KINDS; kind++) {
        curve *c = add_curve(&all, kinds[kind], "", kind, false);
        const cJSON *point;
        cJSON_ArrayForEach(point, lilac_json_at(plot->results, "points")) {
            if (strcmp(lilac_json_string_at(point, "kind"), kinds[kind]) == 0) {
                add_point(c, lilac_json_number_at(point, "tokens"),
                          lilac_json_number_at(point, "milliseconds_per_sequence"));
            }
        }
    }
    write_head(script, plot, plot->inlined ? "" : lilac_json_string_at(plot->results, "title"));
    write_logarithmic_marks(script, &all.item[0]);
    write_times_axis(script, &all);
    fputs("set key left top\nset xlabel 'length N'\nset ylabel 'milliseconds a sequence'\n", script);
    write_curves(script, &all);
}

void lilac_plot_completion_times(FILE *script, const void *argument) {
    const lilac_plot *plot = argument;
    curves all = {.count = 0};
    const cJSON *time;
    for (size_t kind = 0; kind < KINDS; kind++) {
        const cJSON *times = lilac_json_at(plot->results, "times/%s", kinds[kind]);
        curve *here = add_curve(&all, kinds[kind], ", here", kind, false);
        cJSON_ArrayForEach(time, times) {
            add_point(here, lilac_json_number_at(time, "images"), lilac_json_number_at(time, "seconds"));
        }
        curve *report = add_curve(&all, kinds[kind], ", report on a GPU", kind, true);
        cJSON_ArrayForEach(time, times) {
            add_point(report, lilac_json_number_at(time, "images"),
                      lilac_json_number_at(time, "published_seconds_on_a_gpu"));
        }
    }
    curve *slow = add_curve(&all, "softmax without cache", ", here (scaled)", 2, false);
    cJSON_ArrayForEach(time, lilac_json_at(plot->results, "times/softmax")) {
        add_point(slow, lilac_json_number_at(time, "images"),
                  lilac_json_number_at(time, "seconds_without_cache_estimated"));
    }
    write_head(script, plot, plot->inlined ? "" : "Time to complete images");
    write_marks(script, &all.item[all.item[0].count > 0 ? 0 : 2]);
    write_times_axis(script, &all);
    fputs("set key below\nset xlabel 'images'\nset ylabel 'seconds'\n", script);
    write_curves(script, &all);
}

/* Accuracy over rank of those variants, here and as published. */
static void plot_accuracy(FILE *script, const lilac_plot *plot, const char *kind, const char *title, size_t count,
                          const char *const *variants) {
    const cJSON *ranks = lilac_json_at(plot->results, "widths/%zu/lora", plot->width), *row;
    curves all = {.count = 0};
    for (size_t v = 0; v < count; v++) {
        curve *here = add_curve(&all, variants[v], "", v, false);
        curve *report = add_curve(&all, variants[v], ", report", v, true);
        cJSON_ArrayForEach(row, ranks) {
            const double rank = lilac_json_number_at(row, "rank");
            add_point(here, rank, lilac_json_number_at(row, "%s/%s/mean", kind, variants[v]));
            add_point(report, rank, lilac_json_number_at(row, "%s/%s/published", kind, variants[v]));
        }
    }
    write_head(script, plot, plot->inlined ? "" : title);
    write_logarithmic_marks(script, &all.item[0]);
    fputs("set key below\nset xlabel 'rank r'\nset ylabel 'accuracy in %'\nset yrange [0:100]\n", script);
    write_curves(script, &all);
}

void lilac_plot_fine_tuning(FILE *script, const void *argument) {
    static const char *const variants[] = {"quantized", "rotated", "inverted"};
    plot_accuracy(script, argument, "fine_tuning", "LoRA fine-tuning", 3, variants);
}

void lilac_plot_from_scratch(FILE *script, const void *argument) {
    static const char *const variants[] = {"mnist", "quantized", "rotated", "inverted"};
    plot_accuracy(script, argument, "from_scratch", "Adapters of a frozen random network", 4, variants);
}
