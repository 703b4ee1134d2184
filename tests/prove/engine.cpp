/* SPDX-License-Identifier: BSD-2-Clause */
/* Proofs over terms, by Z3 (its C interface). Owns the solver and the search; must not know what an entry is. */
#include "engine.hpp"

#include <map>
#include <stdio.h>
#include <stdlib.h>
#include <vector>
#include <z3.h>

engine_totals totals;
std::function<std::string(const std::string &, raw)> engine_explain;
std::string engine_wanted;

struct choice {
    bool taken, done;
};

struct named {
    std::string name;
    term t;
    bool is_unknown;
};

struct stated {
    const char *text;
    term t;
};

struct end_of_path {
};

/* A tree of paths: that of the property, and within it that of each merged call. */
struct tree {
    std::vector<choice> choices; /* from the root to here */
    size_t depth = 0;            /* how many of them this run has come by */
    bool within = false;         /* of a merged call */
    std::vector<term> path;      /* what was decided in this run of a merged call */
    std::vector<term> fresh;     /* the same conditions as they stand in `decided` */
};

static Z3_context ctx;
static Z3_solver solver;
static tree *here;
static std::map<term, bool> decided; /* on this path */
static std::vector<named> names;     /* of this path */
static std::vector<stated> claims;   /* of this path */
static Z3_model model;               /* satisfies all that was asserted, or nullptr */
static bool claimed;                 /* on any path */

static std::string current; /* what is being proved */

static void stop(const char *why)
{
    fprintf(stderr, "prove: %s: %s\n", current.c_str(), why);
    exit(3);
}

static void on_error(Z3_context c, Z3_error_code code)
{
    stop(Z3_get_error_msg(c, code));
}

static void take(Z3_model m)
{
    if (m)
        Z3_model_inc_ref(ctx, m);
    if (model)
        Z3_model_dec_ref(ctx, model);
    model = m;
}

/* Can what was asserted, and this, be? Keeps the model if so. */
static bool possible(term extra)
{
    totals.queries++;
    Z3_solver_push(ctx, solver);
    if (extra)
        Z3_solver_assert(ctx, solver, extra);
    Z3_lbool answer = Z3_solver_check(ctx, solver);
    if (answer == Z3_L_UNDEF)
        stop("the solver does not know");
    if (answer == Z3_L_TRUE)
        take(Z3_solver_get_model(ctx, solver));
    Z3_solver_pop(ctx, solver, 1);
    return answer == Z3_L_TRUE;
}

static term in_model(term t)
{
    Z3_ast value = nullptr;

    if (!Z3_model_eval(ctx, model, t, true, &value))
        stop("a model without a value");
    return value;
}

static bool is_true(term t)
{
    return Z3_get_bool_value(ctx, t) == Z3_L_TRUE;
}

static raw number_of(term t)
{
    unsigned long n = 0;

    if (!Z3_get_numeral_uint64(ctx, t, &n))
        stop("a value that is no number");
    return n;
}

static void follow(term condition, bool value)
{
    decided[condition] = value;
    Z3_solver_assert(ctx, solver, value ? condition : Z3_mk_not(ctx, condition));
}

/* Which ways are open? The model at hand answers for one of them. */
static bool choose_way(term condition)
{
    if (!model)
        possible(nullptr);
    bool first = is_true(in_model(condition));
    Z3_model kept = model;
    Z3_model_inc_ref(ctx, kept);
    bool both = possible(first ? Z3_mk_not(ctx, condition) : condition);
    take(kept);
    Z3_model_dec_ref(ctx, kept);
    here->choices.push_back({first, !both});
    return first;
}

term term_number(unsigned width, raw value)
{
    return Z3_mk_unsigned_int64(ctx, value, Z3_mk_bv_sort(ctx, width));
}

term term_apply(op what, term a, term b)
{
    Z3_ast two[] = {a, b};

    switch (what) {
    case op::AND: return Z3_mk_bvand(ctx, a, b);
    case op::OR: return Z3_mk_bvor(ctx, a, b);
    case op::XOR: return Z3_mk_bvxor(ctx, a, b);
    case op::ADD: return Z3_mk_bvadd(ctx, a, b);
    case op::SUB: return Z3_mk_bvsub(ctx, a, b);
    case op::MUL: return Z3_mk_bvmul(ctx, a, b);
    case op::SHL: return Z3_mk_bvshl(ctx, a, b);
    case op::SHR: return Z3_mk_bvlshr(ctx, a, b);
    case op::EQ: return Z3_mk_eq(ctx, a, b);
    case op::LESS: return Z3_mk_bvult(ctx, a, b);
    case op::BOTH: return Z3_mk_and(ctx, 2, two);
    case op::EITHER: return Z3_mk_or(ctx, 2, two);
    }
    return nullptr;
}

term term_not(term a)
{
    return Z3_mk_not(ctx, a);
}

term term_choose(term condition, term yes, term no)
{
    return Z3_mk_ite(ctx, condition, yes, no);
}

term term_resize(term a, unsigned from, unsigned to)
{
    return to > from ? Z3_mk_zero_ext(ctx, to - from, a) : Z3_mk_extract(ctx, to - 1, 0, a);
}

bool decide(term condition)
{
    condition = Z3_simplify(ctx, condition);
    Z3_lbool known = Z3_get_bool_value(ctx, condition);
    if (known != Z3_L_UNDEF)
        return known == Z3_L_TRUE;
    auto before = decided.find(condition);
    if (before != decided.end())
        return before->second;
    bool way = true, again = here->depth < here->choices.size();
    if (again)
        way = here->choices[here->depth].taken;
    else if (here->within)
        here->choices.push_back({way, false});
    else
        way = choose_way(condition);
    here->depth++;
    if (here->within) {
        decided[condition] = way;
        here->fresh.push_back(condition);
        here->path.push_back(way ? condition : Z3_mk_not(ctx, condition));
        return way;
    }
    if (again)
        take(nullptr);
    follow(condition, way);
    return way;
}

raw enumerate(term value, unsigned width)
{
    value = Z3_simplify(ctx, value);
    for (unsigned tries = 0; tries < 64; tries++) {
        if (Z3_get_ast_kind(ctx, value) == Z3_NUMERAL_AST)
            return number_of(value);
        /* Counting up is the same in each run; values out of a model are not. */
        if (decide(Z3_mk_eq(ctx, value, term_number(width, tries))))
            return tries;
    }
    /* Not asked before whether there is anything left. */
    if (!here->within || possible(Z3_mk_and(ctx, (unsigned)here->path.size(), here->path.data())))
        stop("an unknown with more than 64 values is made a number of C");
    throw end_of_path();
}

word any(const char *name)
{
    term t = Z3_mk_const(ctx, Z3_mk_string_symbol(ctx, name), Z3_mk_bv_sort(ctx, 64));

    names.push_back({name, t, true});
    return word(t, 0);
}

void show(const char *name, word value)
{
    names.push_back({name, value.force(), false});
}

void assume(truth condition)
{
    term t = condition.t ? Z3_simplify(ctx, condition.t) : nullptr;

    if (t ? Z3_get_bool_value(ctx, t) == Z3_L_FALSE : !condition.value)
        throw end_of_path();
    if (!t)
        return;
    if (!model || !is_true(in_model(t))) {
        if (!possible(t))
            throw end_of_path();
    }
    Z3_solver_assert(ctx, solver, t);
}

void claim(const char *text, truth condition)
{
    claimed = true;
    totals.claims++;
    if (condition.t || !condition.value)
        claims.push_back({text, condition.t ? condition.t : Z3_mk_false(ctx)});
}

/* ---------------------------------------------------------------------------------------------------- the search */

/* For one who waits for this refutation. */
static void maybe_end(const std::string &text)
{
    if (engine_wanted.empty() || text.find(engine_wanted) == std::string::npos)
        return;
    fflush(stdout);
    exit(1);
}

static void tell(const std::string &where, const char *title)
{
    std::string texts;

    printf("REFUTED %s: %s\n", where.c_str(), title);
    for (const stated &c : claims)
        if (!is_true(in_model(c.t))) {
            printf("    does not hold: %s\n", c.text);
            texts += c.text;
        }
    for (const named &n : names) {
        raw value = number_of(in_model(n.t));
        std::string words = engine_explain ? engine_explain(n.name, value) : "";
        printf("    %-12s 0x%016lx  %s\n", n.name.c_str(), value, words.c_str());
    }
    maybe_end(texts);
}

/* The claims of this path; true if they hold. */
static bool hold()
{
    std::vector<Z3_ast> all;

    for (const stated &c : claims)
        all.push_back(c.t);
    if (all.empty())
        return true;
    term wrong = Z3_simplify(ctx, Z3_mk_not(ctx, Z3_mk_and(ctx, (unsigned)all.size(), all.data())));
    if (Z3_get_bool_value(ctx, wrong) == Z3_L_FALSE)
        return true;
    return !possible(wrong);
}

static void begin_path()
{
    Z3_solver_push(ctx, solver);
    here->depth = 0;
    decided.clear();
    names.clear();
    claims.clear();
    take(nullptr);
    totals.paths++;
}

/* To the next path that was not taken yet; false if there is none. */
static bool next_path()
{
    std::vector<choice> &choices = here->choices;

    while (!choices.empty() && choices.back().done)
        choices.pop_back();
    if (choices.empty())
        return false;
    choices.back() = {!choices.back().taken, true};
    return true;
}

static bool end_path()
{
    Z3_solver_pop(ctx, solver, 1);
    return next_path();
}

/* One run of a merged call; false if it cannot be. */
template <typename T> static bool run_within(const std::function<T()> &f, term &value)
{
    bool possible_path = true;

    here->depth = 0;
    here->path.clear();
    try {
        value = f().force();
    } catch (end_of_path &) {
        possible_path = false;
    }
    for (term condition : here->fresh)
        decided.erase(condition);
    here->fresh.clear();
    return possible_path;
}

template <typename T> static term merge(const std::function<T()> &f)
{
    tree within, *outer = here;
    term result = nullptr;

    within.within = true;
    here = &within;
    do {
        term value = nullptr;
        if (!run_within(f, value))
            continue;
        if (result && !within.path.empty())
            value = Z3_mk_ite(ctx, Z3_mk_and(ctx, (unsigned)within.path.size(), within.path.data()), value, result);
        result = value;
    } while (next_path());
    here = outer;
    return Z3_simplify(ctx, result);
}

word merged(const std::function<word()> &f)
{
    term t = merge(f);

    return Z3_get_ast_kind(ctx, t) == Z3_NUMERAL_AST ? word(number_of(t)) : word(t, 0);
}

truth merged_truth(const std::function<truth()> &f)
{
    term t = merge(f);
    Z3_lbool known = Z3_get_bool_value(ctx, t);

    return known == Z3_L_UNDEF ? truth(t) : truth(known == Z3_L_TRUE);
}

bool prove(const std::string &where, const char *title, const std::function<void()> &property)
{
    bool good = true;

    current = where + ": " + title;
    tree paths;
    here = &paths;
    claimed = false;
    do {
        begin_path();
        try {
            property();
        } catch (end_of_path &) {
            continue;
        }
        if (!hold()) {
            tell(where, title);
            good = false;
        }
    } while (end_path() && good);
    if (good && !claimed) {
        printf("REFUTED %s: %s\n    vacuous: no value satisfies the assumptions\n", where.c_str(), title);
        maybe_end("vacuous");
        good = false;
    }
    if (good)
        totals.proved++;
    else
        totals.refuted++;
    return good;
}

raw bits_possible(const std::function<word()> &f)
{
    raw found = 0;

    tree paths;
    here = &paths;
    do {
        begin_path();
        try {
            word value = f();
            for (;;) {
                word rest = value & ~found;
                term more = (rest != 0).force();
                if (!possible(Z3_simplify(ctx, more)))
                    break;
                found |= number_of(in_model(rest.force()));
            }
        } catch (end_of_path &) {
        }
    } while (end_path());
    return found;
}

void engine_reset()
{
    if (ctx) {
        take(nullptr);
        Z3_solver_dec_ref(ctx, solver);
        Z3_del_context(ctx);
    }
    Z3_config config = Z3_mk_config();
    ctx = Z3_mk_context(config);
    Z3_del_config(config);
    Z3_set_error_handler(ctx, on_error);
    solver = Z3_mk_solver_for_logic(ctx, Z3_mk_string_symbol(ctx, "QF_BV"));
    Z3_solver_inc_ref(ctx, solver);
}
