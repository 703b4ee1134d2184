/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proofs over terms. Owns the solver, the paths through what is proved, and how a counterexample looks; must not know
 * what an entry is.
 *
 * A property is a function that takes unknowns (`any`), restricts them (`assume`), calls code, and says what must hold
 * (`claim`). It is run once for each path through the code: where the code branches on an unknown, both ways are taken
 * if both are possible (calls of the library are `merged` to keep these few). On each path the solver looks for values
 * that violate a claim. A property is proved if there are none on any path, and if at least one path got as far as a
 * claim: assumptions that exclude each other prove nothing.
 */
#ifndef PROVE_ENGINE_HPP
#define PROVE_ENGINE_HPP

#include "term.hpp"

#include <functional>
#include <string>

/* Between two of these no terms live: call it once for each configuration. */
void engine_reset();

word any(const char *name);
void assume(truth condition);
void claim(const char *text, truth condition);
void show(const char *name, word value); /* printed with a counterexample */

/* How a value of a counterexample is put in words, by its name; an entry has fields. */
extern std::function<std::string(const std::string &, raw)> engine_explain;

/*
 * The value of f on all of its paths, put together with a choice for each branch, so that what comes after is one path.
 * Whether a path is possible is not asked: what is not is never chosen.
 */
word merged(const std::function<word()> &f);
truth merged_truth(const std::function<truth()> &f);

/* False: refuted, or vacuous; says how on standard output. `where` is printed before the title. */
bool prove(const std::string &where, const char *title, const std::function<void()> &property);

/* Each bit that can be set in the value of f, for some values of its unknowns. The solver shows that no other can. */
raw bits_possible(const std::function<word()> &f);

/* Not empty: the program ends with status 1 as soon as this is in the text of a claim that does not hold. */
extern std::string engine_wanted;

struct engine_totals {
    unsigned long proved, refuted, claims, paths, queries;
};
extern engine_totals totals;

#endif
