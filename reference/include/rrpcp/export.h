/* What a shared library shows of itself.
 *
 * Everything is compiled with hidden visibility. RRPCP_EXPORT marks a function of the C interface;
 * RRPCP_PUBLIC stands in front of the name of the namespace in the public C++ headers,
 *
 *     namespace RRPCP_PUBLIC rrpcp {
 *
 * and marks what is declared in that block. */
#ifndef RRPCP_EXPORT_H
#define RRPCP_EXPORT_H

#define RRPCP_EXPORT __attribute__((visibility("default")))
#define RRPCP_PUBLIC [[gnu::visibility("default")]]

#endif
