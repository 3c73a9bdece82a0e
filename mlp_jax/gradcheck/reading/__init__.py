"""How somebody's files are loaded, and their classes and functions are called.

`loading` imports a file or notebook as Python would (`siblings`, `definitions`, `magics`, `python2`,
`standins`), and `running` runs it quietly. `names` and `signatures` tell what an argument is, and `refusals`
what is no gradient. Parameters are held by a `Layout` (`layouts`), or at `Places` that were found (`holders`,
by `paths`; `trees` learns them from a function): both read them, and give gradients by leaf. A function is
asked by a convention (`conventions`, `calling`; `pairs` for a forward and a backward one), an object of a class
by what it has (`building`, `given`, `settings`, `arguments`, `asking`, `masks`, `classes`). All give `answers`;
`settling` finds out by trying what a class or function is, and `forms` how its labels and vectors are.
"""
