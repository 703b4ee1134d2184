/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers that may be unknown: what uint64_t, uint32_t and uint8_t are while the headers of the library are compiled
 * for a proof. Owns C's rules of arithmetic over them; must not know a format, nor how a question about them is
 * answered (engine.hpp).
 *
 * A value without a term is an ordinary number, and arithmetic of numbers stays arithmetic of numbers. A comparison
 * with an unknown gives a truth; where C wants a bool of it, the engine goes both ways (decide). An explicit cast to a
 * type of C goes through all values that are possible. C++, because only its operators can be given a meaning.
 */
#ifndef PROVE_TERM_HPP
#define PROVE_TERM_HPP

#include <stddef.h>
#include <type_traits>

struct _Z3_ast;

using term = _Z3_ast *; /* nullptr: there is a plain value instead */
using raw = unsigned long;

enum class op { AND, OR, XOR, ADD, SUB, MUL, SHL, SHR, EQ, LESS, BOTH, EITHER };

/* All of it is in engine.cpp. Widths in bits. */
term term_number(unsigned width, raw value);
term term_apply(op what, term a, term b);
term term_not(term a); /* of a truth */
term term_choose(term condition, term yes, term no);
term term_resize(term a, unsigned from, unsigned to); /* the low bits, or zeros above */
bool decide(term condition);                          /* forks */
raw enumerate(term value, unsigned width);            /* forks, once for each value */

/* -------------------------------------------------------------------------------------------------------- truths */

struct truth {
    bool value;
    term t;

    truth() = default;
    constexpr truth(bool v) : value(v), t(nullptr)
    {
    }
    explicit truth(term term_) : value(false), t(term_)
    {
    }
    operator bool() const
    {
        return t ? decide(t) : value;
    }
    term force() const
    {
        return t ? t : term_apply(op::EQ, term_number(1, value), term_number(1, 1));
    }
};

inline truth operator!(truth a)
{
    return a.t ? truth(term_not(a.t)) : truth(!a.value);
}

inline truth operator&(truth a, truth b)
{
    if (!a.t)
        return a.value ? b : a;
    if (!b.t)
        return b.value ? a : b;
    return truth(term_apply(op::BOTH, a.t, b.t));
}

inline truth operator|(truth a, truth b)
{
    if (!a.t)
        return a.value ? a : b;
    if (!b.t)
        return b.value ? b : a;
    return truth(term_apply(op::EITHER, a.t, b.t));
}

/* Exact matches, so that they win over the operators of int. */
inline truth operator&(bool a, truth b)
{
    return truth(a) & b;
}
inline truth operator&(truth a, bool b)
{
    return a & truth(b);
}
inline truth operator|(bool a, truth b)
{
    return truth(a) | b;
}
inline truth operator|(truth a, bool b)
{
    return a | truth(b);
}

inline truth implies(truth a, truth b)
{
    return (!a) | b;
}

inline truth same(truth a, truth b)
{
    return implies(a, b) & implies(b, a);
}

/* -------------------------------------------------------------------------------------------------------- numbers */

template <unsigned W> struct bits;

template <typename T>
concept plain = (std::is_integral_v<T> || std::is_enum_v<T>)&&!std::is_same_v<T, bool>;

template <unsigned W> constexpr raw mask_of = W >= 64 ? ~0ul : (1ul << (W & 63)) - 1;

template <unsigned W> struct bits {
    raw value;
    term t;

    bits() = default;
    template <plain T> constexpr bits(T v) : value((raw)v & mask_of<W>), t(nullptr)
    {
    }
    constexpr bits(bool v) : value(v), t(nullptr)
    {
    }
    bits(truth v) : value(v.value), t(v.t ? term_choose(v.t, term_number(W, 1), term_number(W, 0)) : nullptr)
    {
    }
    template <unsigned V>
    bits(bits<V> other)
        : value(other.value & mask_of<W>), t(!other.t ? nullptr
                                             : V == W ? other.t
                                                      : term_resize(other.t, V, W))
    {
    }
    bits(term term_, int) : value(0), t(term_)
    {
    }
    explicit operator bool() const;
    operator truth() const;
    template <plain T> explicit operator T() const
    {
        return (T)(t ? enumerate(t, W) : value);
    }
    /* An index: arrays want a number. */
    operator unsigned() const requires(W <= 32)
    {
        return (unsigned)(t ? enumerate(t, W) : value);
    }
    term force() const
    {
        return t ? t : term_number(W, value);
    }
};

using word = bits<64>;
using half = bits<32>;
using octet = bits<8>;

/* The width that C computes with: int at least. What is narrower is positive there, so unsigned will do. */
template <typename T> struct width_of;
template <unsigned W> struct width_of<bits<W>> {
    static constexpr unsigned value = W < 32 ? 32 : W;
};
template <> struct width_of<truth> {
    static constexpr unsigned value = 32;
};
template <typename T>
requires std::is_integral_v<T> || std::is_enum_v<T>
struct width_of<T> {
    static constexpr unsigned value = sizeof(T) > 4 ? 64 : 32;
};

template <typename T> struct is_bits : std::false_type {
};
template <unsigned W> struct is_bits<bits<W>> : std::true_type {
};
template <typename T>
concept number = is_bits<T>::value;
template <typename A, typename B>
concept mixed = (number<A> && (number<B> || std::is_integral_v<B> || std::is_enum_v<B> || std::is_same_v<B, truth>)) ||
                (number<B> && (std::is_integral_v<A> || std::is_enum_v<A> || std::is_same_v<A, truth>));
template <typename A, typename B>
constexpr unsigned common = width_of<A>::value > width_of<B>::value ? width_of<A>::value : width_of<B>::value;

template <op O> constexpr raw compute(raw a, raw b)
{
    switch (O) {
    case op::AND: return a & b;
    case op::OR: return a | b;
    case op::XOR: return a ^ b;
    case op::ADD: return a + b;
    case op::SUB: return a - b;
    case op::MUL: return a * b;
    case op::SHL: return a << (b & 63);
    case op::SHR: return a >> (b & 63);
    default: return 0;
    }
}

template <op O, unsigned W> bits<W> arithmetic(bits<W> a, bits<W> b)
{
    if (!a.t && !b.t)
        return compute<O>(a.value, b.value);
    if (O == op::AND && ((!a.t && !a.value) || (!b.t && !b.value)))
        return 0;
    if ((O == op::OR || O == op::XOR || O == op::ADD) && !a.t && !a.value)
        return b;
    if (O != op::AND && O != op::MUL && !b.t && !b.value)
        return a;
    return bits<W>(term_apply(O, a.force(), b.force()), 0);
}

#define PROVE_ARITHMETIC(symbol, name)                                                                                 \
    template <typename A, typename B>                                                                                  \
    requires mixed<A, B>                                                                                               \
    auto operator symbol(A a, B b)                                                                                     \
    {                                                                                                                  \
        constexpr unsigned W = common<A, B>;                                                                           \
        return arithmetic<op::name, W>(bits<W>(a), bits<W>(b));                                                        \
    }                                                                                                                  \
    template <unsigned W, typename B> bits<W> &operator symbol##=(bits<W> &a, B b)                                     \
    {                                                                                                                  \
        return a = bits<W>(a symbol b);                                                                                \
    }
PROVE_ARITHMETIC(&, AND)
PROVE_ARITHMETIC(|, OR)
PROVE_ARITHMETIC(^, XOR)
PROVE_ARITHMETIC(+, ADD)
PROVE_ARITHMETIC(-, SUB)
PROVE_ARITHMETIC(*, MUL)

/* A shift has the width of what is shifted. */
#define PROVE_SHIFT(symbol, name)                                                                                      \
    template <typename A, typename B>                                                                                  \
    requires mixed<A, B>                                                                                               \
    auto operator symbol(A a, B b)                                                                                     \
    {                                                                                                                  \
        constexpr unsigned W = width_of<A>::value;                                                                     \
        return arithmetic<op::name, W>(bits<W>(a), bits<W>(b));                                                        \
    }
PROVE_SHIFT(<<, SHL)
PROVE_SHIFT(>>, SHR)

template <op O, unsigned W> truth compare(bits<W> a, bits<W> b)
{
    if (!a.t && !b.t)
        return O == op::EQ ? a.value == b.value : a.value < b.value;
    return truth(term_apply(O, a.force(), b.force()));
}

#define PROVE_COMPARE(symbol, result)                                                                                  \
    template <typename A, typename B>                                                                                  \
    requires mixed<A, B> truth operator symbol(A left, B right)                                                        \
    {                                                                                                                  \
        constexpr unsigned W = common<A, B>;                                                                           \
        bits<W> a(left), b(right);                                                                                     \
        return result;                                                                                                 \
    }
PROVE_COMPARE(==, (compare<op::EQ, W>(a, b)))
PROVE_COMPARE(!=, (!compare<op::EQ, W>(a, b)))
PROVE_COMPARE(<, (compare<op::LESS, W>(a, b)))
PROVE_COMPARE(>, (compare<op::LESS, W>(b, a)))
PROVE_COMPARE(<=, (!compare<op::LESS, W>(b, a)))
PROVE_COMPARE(>=, (!compare<op::LESS, W>(a, b)))

template <unsigned W> auto operator~(bits<W> a)
{
    static_assert(W >= 32, "the complement of an octet is a negative int");
    return a ^ bits<W>(mask_of<W>);
}

template <unsigned W> truth operator!(bits<W> a)
{
    return a == 0;
}

template <unsigned W> bits<W>::operator bool() const
{
    return t ? (bool)(*this != 0) : value != 0;
}

template <unsigned W> bits<W>::operator truth() const
{
    return *this != 0;
}

template <unsigned W> bits<W> operator++(bits<W> &a, int)
{
    bits<W> old = a;
    a = bits<W>(a + 1);
    return old;
}

template <unsigned W> bits<W> operator--(bits<W> &a, int)
{
    bits<W> old = a;
    a = bits<W>(a - 1);
    return old;
}

inline word choose(truth condition, word yes, word no)
{
    if (!condition.t)
        return condition.value ? yes : no;
    return word(term_choose(condition.t, yes.force(), no.force()), 0);
}

#endif
