// A program with a defect of the kind that costs days: a name that is too long spoils the pointer
// that lies behind it on the heap, and nothing happens. Two seconds and more than ten million
// instructions later the pointer is used.
//
// Its hunt is the first example of the README: recorded once, it is caught by going backward.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct currency {
  const char* symbol;
  long cents;
};

struct account {
  char name[16];
  struct currency* currency;
  long balance;
};

static struct currency euro = {"EUR", 100};

static struct account* open_account(const char* name) {
  struct account* account = calloc(1, sizeof *account);
  if (account == NULL) {
    exit(1);
  }
  strncpy(account->name, name, sizeof account->name - 1);
  account->currency = &euro;
  return account;
}

// The defect: nobody looks at the length.
static void rename_account(struct account* account, const char* name) {
  for (size_t i = 0; name[i] != '\0'; ++i) {
    account->name[i] = name[i];
  }
}

// A hundredth of the day's work, and a pause.
static void work(struct account** accounts, int count, int round) {
  for (int step = 0; step < 30000; ++step) {
    struct account* account = accounts[step % count];
    account->balance = (account->balance * 33 + step + round) % 999983;
  }
  const struct timespec pause = {0, 21000000};
  nanosleep(&pause, NULL);
}

static void print_account(const struct account* account) {
  const struct currency* currency = account->currency;
  printf("%-16.16s %6ld.%02ld %s\n", account->name, account->balance / currency->cents,
         account->balance % currency->cents, currency->symbol);
}

int main(void) {
  struct account* accounts[3] = {open_account("rent"), open_account("books"),
                                 open_account("travel")};
  for (int round = 0; round < 100; ++round) {
    if (round == 2) {
      rename_account(accounts[1], "books and music");
      rename_account(accounts[2], "travel and provisions");
    }
    work(accounts, 3, round);
  }
  for (int i = 0; i < 3; ++i) {
    print_account(accounts[i]);
    fflush(stdout);
  }
  return 0;
}
